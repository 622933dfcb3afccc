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
from unstir.processes import VP
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
    bare = BareLoop(theirs.denoiser.module, x, condition["label"], settings.training.batch)
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
    """Forward, backward, AdamW on a batch that is ready: nothing else."""

    def __init__(self, module: nn.Module, x: Tensor, labels: Tensor, batch: int) -> None:
        self.module, self.x, self.labels = module.train(), x[:batch].clone(), labels[:batch].clone()
        self.level, self.target = torch.linspace(-8, 8, batch), torch.randn_like(self.x)
        self.optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3, fused=True)

    def step(self) -> None:
        loss = (self.module(self.x, self.level, label=self.labels) - self.target).square().mean()
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
