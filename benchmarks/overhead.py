"""What the trainer and the sampler cost beyond the network itself, as ratios measured side by side.

Run: python benchmarks/overhead.py [--repeats 3] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from unstir.denoisers import Network
from unstir.processes import VP, expand
from unstir.recipes import find_recipe, load_data
from unstir.recipes.run import build_model
from unstir.samplers import sample
from unstir.training import Trainer, TrainingSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(2)
    result = {
        "trainer_over_bare_loop": statistics.median(trainer_ratio() for _ in range(options.repeats)),
        "sampler_over_bare_evaluations": statistics.median(sampler_ratio() for _ in range(options.repeats)),
    }
    for name, value in result.items():
        print(f"{name}: {value:.4f}")
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")


def trainer_ratio(rounds: int = 12, steps: int = 10) -> float:
    """Median step of the trainer over that of a bare loop with the same network, in alternating rounds."""
    splits = load_data(find_recipe("digits").data)
    settings = find_recipe("digits")
    ours, theirs = build_model(settings, splits), build_model(settings, splits)
    values = settings.training.model_dump() | {"seconds": None, "samples": 10**9}
    run = Trainer(ours.denoiser, splits.train, TrainingSettings.model_validate(values)).run()
    x, condition = splits.train.batch(slice(None))
    bare = BareLoop(theirs.denoiser, x, condition["label"], settings.training.batch)
    for _ in range(steps):
        next(run)
        bare.step()
    ratios = []
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(steps):
            next(run)
        middle = time.perf_counter()
        for _ in range(steps):
            bare.step()
        ratios.append((middle - started) / (time.perf_counter() - middle))
    return statistics.median(ratios)


class BareLoop:
    """Forward, backward, AdamW: nothing else."""

    def __init__(self, denoiser: Network, x: Tensor, labels: Tensor, batch: int) -> None:
        self.denoiser, self.x, self.labels, self.batch = denoiser.train(), x, labels, batch
        self.optimizer = torch.optim.AdamW(denoiser.parameters(), lr=1e-3, fused=True)

    def step(self) -> None:
        rows = torch.randint(len(self.x), (self.batch,))
        x_0, t = self.x[rows], torch.rand(self.batch, dtype=torch.float64)
        schedule = self.denoiser.schedule
        epsilon = torch.randn_like(x_0)
        x_t = expand(schedule.alpha(t), x_0) * x_0 + expand(schedule.sigma(t), x_0) * epsilon
        loss = (self.denoiser(x_t, t, label=self.labels[rows]).mean - x_0).square().mean()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


class TwoMilliseconds(nn.Module):
    """A network that takes two milliseconds."""

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        end = time.perf_counter() + 2e-3
        while time.perf_counter() < end:
            pass
        return 0.1 * x


def sampler_ratio(rounds: int = 20, steps: int = 20) -> float:
    """Sampling with the default solver over as many bare calls of the module, in alternating rounds."""
    module = TwoMilliseconds()
    denoiser = Network(module, VP())
    x, level = torch.randn(64, 1, 8, 8), torch.zeros(64)
    ratios = []
    for _ in range(rounds):
        started = time.perf_counter()
        sample(denoiser, (64, 1, 8, 8), steps=steps)
        middle = time.perf_counter()
        for _ in range(steps):
            module(x, level)
        ratios.append((middle - started) / (time.perf_counter() - middle))
    return statistics.median(ratios[2:])


if __name__ == "__main__":
    main()
