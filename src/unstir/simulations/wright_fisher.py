"""Genetic drift: populations that resample themselves, beside their Markov chain and Kimura's formula."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field

from unstir.evaluation.figures import INK, QUIET, SECOND, THIRD
from unstir.physics.population import WrightFisher, fixation_of
from unstir.physics.population_formulas import fixation_probability
from unstir.settings import Settings
from unstir.simulations.simulation import Report, Simulation, System

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

_SHOWN = 30


class Drift(Settings):
    """Settings of the populations."""

    individuals: int = Field(50, ge=1, le=500, description="diploid individuals N, with 2N copies, 1")
    selection: float = Field(0.01, gt=-1, le=1, description="advantage s of a copy, 1/generation")
    frequency: float = Field(0.2, ge=0, le=1, description="frequency of the allele at the start, 1")
    generations: int = Field(200, ge=1, le=20000, description="how long, generations")
    populations: int = Field(2000, ge=_SHOWN, le=100000, description="number of populations, 1")
    frames: int = Field(40, ge=1, le=500, description="frames of the film, 1")
    seed: int = Field(0, description="seed of the random numbers, 1")


def run(settings: Drift, report: Report) -> Simulation:
    """Simulate, raise the chain to powers, solve the diffusion, and compare."""
    n, generations = 2 * settings.individuals, settings.generations
    model = WrightFisher(n, settings.selection)
    first = round(settings.frequency * n)
    start = torch.full((settings.populations,), first)
    path = model.simulate(start, generations, path=True, seed=settings.seed)
    law = _laws(model.matrix(), first, generations)
    report(1, 1)
    x = torch.arange(n + 1, dtype=torch.float64) / n
    simulated = torch.stack([path == n, path == 0]).double().mean(2)
    shown = torch.linspace(0, generations, settings.frames + 1).round().long()[1:]
    ever = float(fixation_probability(first / n, settings.selection, n))

    def draw(figure: Figure, frame: int) -> None:
        now = int(shown[frame])
        left, middle, right = figure.subplots(1, 3)
        left.plot(path[: now + 1, :_SHOWN] / n, lw=0.7, alpha=0.8)
        left.set(xlim=(0, generations), ylim=(-0.02, 1.02), xlabel="generation", ylabel="frequency")
        left.set_title(f"{_SHOWN} of {settings.populations} populations")
        counts = torch.bincount(path[now], minlength=n + 1).double() / settings.populations
        middle.bar(x[1:-1].numpy(), counts[1:-1].numpy(), 1.0 / n, color=QUIET, label="populations")
        middle.plot(x[1:-1], law[now, 1:-1], color=SECOND, label="Markov chain")
        high = 2.5 * max(float(law[now, 1:-1].max()), 1.0 / settings.populations)
        middle.set(xlim=(0, 1), ylim=(0, high), xlabel="frequency", ylabel="share of populations")
        middle.set_title(f"not yet decided, generation {now}")
        middle.legend(loc="upper right")
        for row, colour, name, k in ((0, THIRD, "fixed", n), (1, INK, "lost", 0)):
            right.plot(law[:, k], color=colour, lw=1.2)
            right.plot(
                shown[: frame + 1], simulated[row, shown[: frame + 1]], "o", ms=3, color=colour, label=name
            )
        right.axhline(ever, ls="--", lw=1.0, color=THIRD, label="ever fixed (Kimura)")
        right.set(xlim=(0, generations), ylim=(0, 1), xlabel="generation", title="share fixed and lost")
        right.legend(loc="upper left")

    return Simulation(
        title="Genetic drift",
        arrays={"frequency": x, "generation": shown, "counts": path[:, :_SHOWN], "chain": law[shown]},
        facts=_facts(model, first, path, law),
        draw=draw,
        frames=settings.frames,
        size=(12.0, 4.0),
    )


def _laws(P: Tensor, first: int, generations: int) -> Tensor:
    """The law of the chain in every generation, (generations + 1, n + 1)."""
    law = torch.zeros(len(P), dtype=torch.float64)
    law[first] = 1.0
    laws = [law]
    for _ in range(generations):
        laws.append(laws[-1] @ P)
    return torch.stack(laws)


def _facts(model: WrightFisher, first: int, path: Tensor, law: Tensor) -> dict[str, str]:
    n, end = model.copies, len(path) - 1
    x = torch.arange(n + 1, dtype=torch.float64) / n
    operator = model.diffusion()
    centres, h = operator.space.axes[0].centers, fixation_of(operator)
    place = int(torch.searchsorted(centres, float(x[first]))) if 0 < first < n else 0
    near = max(1, min(place, len(h) - 1))
    share = (float(x[first]) - float(centres[near - 1])) / float(centres[near] - centres[near - 1])
    solved = float(torch.lerp(h[near - 1], h[near], share))
    kimura = float(fixation_probability(x[first], model.selection, n))
    fixed = float((path[-1] == n).double().mean())
    error = (float(law[-1, n]) * (1.0 - float(law[-1, n])) / path.shape[1]) ** 0.5
    hetero = [float((2 * y * (1 - y)).mean()) for y in (path[0].double() / n, path[-1].double() / n)]
    return {
        "ever fixed": f"Kimura {kimura:.5f}, Markov chain {float(model.fixation()[first]):.5f}, "
        f"diffusion on a grid {solved:.5f}",
        f"fixed by generation {end}": f"{fixed:.4f} of the populations "
        f"({float(law[-1, n]):.4f} by the chain, standard error {error:.4f})",
        "mean generations to loss or fixation": f"{float(model.absorption_time()[first]):.1f} by the chain",
        "heterozygosity left": f"{hetero[1] / max(hetero[0], 1e-300):.4f} "
        f"((1 - 1/2N)^t = {(1 - 1 / n) ** end:.4f} without selection)",
    }


SYSTEM = System("wright-fisher", "drift and selection: populations, Markov chain, Kimura", Drift, run)
