"""What guidance costs beyond its network evaluations, on the network of the digits recipe."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from unstir.denoisers import Denoiser
from unstir.guidance import DPS, MMPS, ClassifierFree, LinearOperator, PiGDM
from unstir.recipes import find_recipe, load_data
from unstir.recipes.run import build_model

BATCH = 64


def costs(rounds: int) -> dict[str, float]:
    """Ratios of CPU time of one thread: medians over rounds of runs that take turns, printed and returned."""
    settings = find_recipe("digits")
    model = build_model(settings, load_data(settings.data))
    denoiser: Denoiser = model.denoiser.eval().requires_grad_(False)
    x = torch.randn((BATCH, *model.config.event), generator=torch.Generator().manual_seed(0))
    label = torch.arange(BATCH) % 10
    masked = half(model.config.event)
    y = masked(x[:1])[0]
    guided = ClassifierFree(denoiser, 2.0)
    inverse: dict[str, Denoiser] = {
        "DPS": DPS(denoiser, y, masked, 0.1),
        "PiGDM": PiGDM(denoiser, y, masked, 0.1),
        "MMPS, 1 iteration": MMPS(denoiser, y, masked, 0.1, iterations=1),
        "MMPS, 2 iterations": MMPS(denoiser, y, masked, 0.1, iterations=2),
        "MMPS, 5 iterations": MMPS(denoiser, y, masked, 0.1, iterations=5),
    }

    def two() -> None:
        denoiser(x, 0.5, label=label)
        denoiser(x, 0.5)

    runs: dict[str, Callable[[], object]] = {
        "one evaluation": lambda: denoiser(x, 0.5),
        "two evaluations": two,
        "classifier-free": lambda: guided(x, 0.5, label=label),
    }
    runs |= {name: (lambda d=d: d(x, 0.5)) for name, d in inverse.items()}
    times = measure(runs, rounds)
    ratios = {"classifier-free / two evaluations": ratio(times, "classifier-free", "two evaluations")}
    ratios |= {f"{name} / one evaluation": ratio(times, name, "one evaluation") for name in inverse}
    print("| step | ratio of CPU time |\n|---|---|")
    for name, value in ratios.items():
        print(f"| {name} | {value:.3f} |")
    return ratios


def half(event: tuple[int, ...]) -> LinearOperator:
    """The upper half of an image."""
    mask = torch.zeros(event)
    mask[..., : event[-2] // 2, :] = 1.0

    def apply(x: Tensor) -> Tensor:
        return x * mask.to(x)

    return LinearOperator(apply, apply, event=event, name="upper half")


@torch.no_grad()
def measure(runs: dict[str, Callable[[], object]], rounds: int, calls: int = 4) -> dict[str, list[float]]:
    """CPU seconds a call in every round; the first two rounds warm up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 2):
        for name, run in runs.items():
            started = time.process_time()
            for _ in range(calls):
                run()
            if turn >= 2:
                times[name].append((time.process_time() - started) / calls)
    return times


def ratio(times: dict[str, list[float]], a: str, b: str) -> float:
    """Median over rounds of a's time over b's."""
    return statistics.median(x / y for x, y in zip(times[a], times[b], strict=True))
