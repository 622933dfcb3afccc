"""How well measured digits are restored, beside classical inverses, and how honest the intervals are.

Run: python benchmarks/restoration.py runs/digits [--count 100] [-n 39] [--settings 'mmps;pigdm'] [--choose]

The run comes from `unstir train digits`. Its held-out digits are measured by heat flow (time 0.5), a random
and a central mask of half the pixels, and means of 2 x 2 blocks, each with noise of 0.02 of the range.
``--choose`` measures on 60 other held-out digits, on which the defaults and the parameter of Tikhonov's
inverse are chosen.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unstir import noise
from unstir.guidance import DPS, MMPS, PiGDM
from unstir.guidance.diffpir import DiffPIR
from unstir.guidance.measurements import downsample, heat, mask
from unstir.guidance.operators import LinearOperator
from unstir.model import Model, load
from unstir.recipes import load_data
from unstir.recipes.inverses import Prior, classical, prior_of
from unstir.recipes.measured import Measured
from unstir.recipes.restore import METHODS, Method, Restoration, restore
from unstir.recipes.run import stored_settings
from unstir.training import Scaling

TIME, NOISE, CHOOSE = 0.5, 0.02, 60
LEVEL = 0.9

SETTINGS: dict[str, tuple[Method, dict[str, Any]]] = {
    **{name: (method, {}) for name, method in METHODS.items()},
    "mmps, multistep, 20 steps": (Method(MMPS), {"solver": "multistep", "steps": 20}),
    "mmps, 4 iterations, multistep, 20 steps": (
        Method(partial(MMPS, iterations=4)),
        {"solver": "multistep", "steps": 20},
    ),
    "mmps, sa, 20 steps": (Method(MMPS), {"solver": "sa", "steps": 20}),
    "mmps, sa, 40 steps": (Method(MMPS), {"solver": "sa", "steps": 40}),
    "mmps, dpmpp-2m-sde, 20 steps": (Method(MMPS), {"solver": "dpmpp-2m-sde", "steps": 20}),
    "mmps, ddpm, 20 steps": (Method(MMPS), {"solver": "ddpm", "steps": 20}),
    "mmps, ddpm, 50 steps": (Method(MMPS), {"solver": "ddpm", "steps": 50}),
    "mmps, stochastic-heun, 10 steps": (Method(MMPS), {"solver": "stochastic-heun", "steps": 10}),
    "mmps, 4 iterations, stochastic-heun, 10 steps": (
        Method(partial(MMPS, iterations=4)),
        {"solver": "stochastic-heun", "steps": 10},
    ),
    "mmps, stochastic-heun, 20 steps": (Method(MMPS), {"solver": "stochastic-heun", "steps": 20}),
    "pigdm, multistep, 20 steps": (Method(PiGDM), {"solver": "multistep", "steps": 20}),
    "pigdm, sa, 20 steps": (Method(PiGDM), {"solver": "sa", "steps": 20}),
    "pigdm, stochastic-heun, 10 steps": (Method(PiGDM), {"solver": "stochastic-heun", "steps": 10}),
    "dps, stochastic-heun, 20 steps": (Method(DPS), {"solver": "stochastic-heun", "steps": 20}),
    "dps, weight 0.5": (Method(partial(DPS, weight=0.5)), {"solver": "stochastic-heun", "steps": 20}),
    "dps, weight 0.7": (Method(partial(DPS, weight=0.7)), {"solver": "stochastic-heun", "steps": 20}),
    "dps, ddpm, 100 steps": (Method(DPS), {"solver": "ddpm", "steps": 100}),
    "ddrm, 50 steps": (METHODS["ddrm"], {"steps": 50}),
    "diffpir, 50 steps": (METHODS["diffpir"], {"steps": 50}),
    "diffpir, strength 1": (replace(METHODS["diffpir"], guide=partial(DiffPIR, strength=1.0)), {}),
    "particles, 50 steps": (METHODS["particles"], {"steps": 50}),
}
"""What is measured: a method, and how it is sampled where that differs from its default."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--count", type=int, default=100, help="digits")
    parser.add_argument("-n", type=int, default=39, help="samples of each")
    parser.add_argument("--settings", help="separated by ';'; default: all")
    parser.add_argument("--problems", help="separated by ';'; default: all")
    parser.add_argument("--choose", action="store_true", help="on the digits that defaults are chosen on")
    parser.add_argument("--out", type=Path, help="all numbers as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, (choosing, reported), train = _data(options.run)
    prior = prior_of(model)
    truth = (choosing if options.choose else reported)[: options.count]
    names = options.settings.split(";") if options.settings else list(SETTINGS)
    found: dict[str, list[dict[str, Any]]] = {}
    for problem, operator in problems(model.config.event).items():
        if options.problems and problem not in options.problems.split(";"):
            continue
        part = measure(problem, operator, truth, seed=1)
        tuned = _best_prior(problem, measure(problem, operator, choosing, seed=2), choosing, prior)
        rows = classical_rows(part, truth, tuned, train)
        print(f"\n### {problem}, {len(truth)} digits\n\n{HEADER}", flush=True)
        for row in rows:
            print(line(row), flush=True)
        best = max((row for row in rows if row["linear"] is False), key=lambda row: row["psnr"])
        for name in names:
            method, how = SETTINGS[name]
            try:
                result = restore(
                    model, [part], _sigma(model), n=options.n, method=method, level=LEVEL, prior=prior,
                    heat_time=TIME if part.name == "heat" else None, **how,
                )  # fmt: skip
            except (ValueError, FloatingPointError) as error:
                print(f"| {name} | {' '.join(str(error).split())} |", flush=True)
                continue
            rows.append({"name": name, **figures(result, truth, train, best["each"])})
            print(line(rows[-1]), flush=True)
        found[problem] = rows
    if options.out:
        options.out.write_text(json.dumps(found, indent=2, default=lambda tensor: tensor.tolist()) + "\n")


def _data(run: Path) -> tuple[Model, tuple[Tensor, Tensor], Tensor]:
    """The model, held-out digits to choose on and to report, and the training digits."""
    model, splits = load(run), load_data(stored_settings(run).data)
    heldout, train = (
        replace(half, scaling=Scaling()).batch(slice(None))[0] for half in (splits.heldout, splits.train)
    )
    order = noise.permutation(len(heldout), seed=0, stream=noise.Stream.SPLIT)
    return model, (heldout[order[:CHOOSE]], heldout[order[CHOOSE:]]), train


def problems(event: tuple[int, ...]) -> dict[str, LinearOperator]:
    """The measurements by name."""
    index = torch.zeros(1, dtype=torch.int64)
    draw = noise.uniform(event, seed=3, index=index, stream=noise.Stream.SIMULATE)[0]
    known = draw.flatten().argsort().argsort().reshape(event) < draw.numel() // 2
    central = torch.ones(event, dtype=torch.bool)
    central[..., event[-1] // 4 : -(event[-1] // 4)] = False
    return {
        f"heat flow, time {TIME}": heat(event, TIME),
        "random half": mask(known),
        "without the central half": mask(central),
        "blocks of 2 x 2": downsample(2, event),
    }


def _sigma(model: Model) -> float:
    assert model.config.bounds is not None
    return NOISE * (model.config.bounds[1] - model.config.bounds[0])


def measure(
    problem: str, operator: LinearOperator, x: Tensor, seed: int, sigma: float = 16 * NOISE
) -> Measured:
    """The digits, measured with noise."""
    z = noise.normal(operator.measured, seed=seed, index=torch.arange(len(x)), stream=noise.Stream.SIMULATE)
    y = operator(x) + sigma * z
    name = {"h": "heat", "b": "downsample"}.get(problem[0], "mask")
    shown = y
    if name == "mask":
        known = operator.adjoint(torch.ones_like(y)) > 0
        shown = torch.where(known, operator.adjoint(y), torch.nan)
    return Measured(y, operator, shown, name)


def _best_prior(problem: str, part: Measured, truth: Tensor, prior: Prior) -> Prior:
    """The prior with the deviation for which the classical inverse is best."""
    if part.name != "heat":
        return prior
    candidates = [Prior(prior.mean, prior.std * 2.0 ** (k / 2)) for k in range(-6, 7)]
    scores = [
        float(psnr(classical(part, 16 * NOISE, p, time=TIME)["tikhonov"], truth).mean()) for p in candidates
    ]
    return candidates[max(range(len(scores)), key=scores.__getitem__)]


def classical_rows(part: Measured, truth: Tensor, prior: Prior, train: Tensor) -> list[dict[str, Any]]:
    """Classical inverses, clamped to the range as the restored digits are, and the best linear estimate."""
    time = TIME if part.name == "heat" else None
    found = classical(part, 16 * NOISE, prior, time=time)
    rows = [(name, x, False) for name, x in found.items()]
    rows.append(("best linear, from the training digits' covariance", linear_estimate(part, train), True))
    scores = [(name, psnr(x.clamp(0, 16), truth), linear) for name, x, linear in rows]
    return [{"name": n, "psnr": float(s.mean()), "each": s, "linear": linear} for n, s, linear in scores]


def linear_estimate(part: Measured, train: Tensor) -> Tensor:
    """The posterior mean for Gaussian data with the training digits' mean and covariance."""
    flat = train.double().flatten(1)
    mean, covariance = flat.mean(0), torch.cov(flat.T)
    matrix = part.operator.matrix
    gram = matrix @ covariance @ matrix.T + (16 * NOISE) ** 2 * torch.eye(len(matrix), dtype=torch.float64)
    apart = part.y.double().flatten(1) - mean @ matrix.T
    estimate = mean + torch.linalg.solve(gram, apart.T).T @ matrix @ covariance
    shaped: Tensor = estimate.reshape(-1, *train.shape[1:]).float()
    return shaped


def psnr(x: Tensor, truth: Tensor) -> Tensor:
    """Peak signal to noise ratio of every digit, (m,) dB."""
    error = (x - truth).flatten(1).square().mean(1)
    decibels: Tensor = 10.0 * torch.log10(16.0**2 / error)
    return decibels


def figures(result: Restoration, truth: Tensor, train: Tensor, best: Tensor) -> dict[str, Any]:
    """What the table shows of a restoration; ``best`` is the PSNR of the classical inverse, (m,)."""
    each = psnr(result.mean, truth)
    gain = each - best
    varies = train.std(0) > 0.05 * 16
    inside = ((truth >= result.low) & (truth <= result.high)).double()
    n = result.samples.shape[1]
    # The mean of n samples is itself uncertain by 1 / n of their variance.
    expected = (result.std.square().mean() * (1.0 + 1.0 / n)).sqrt()
    return {
        "psnr": float(each.mean()),
        "gain": float(gain.mean()),
        "gain_error": float(gain.std() / len(gain) ** 0.5),
        "covered": float(inside.mean()),
        "covered_varying": float(inside[:, varies].mean()),
        "covered_ranks": float(ranked(result.samples, truth)[:, varies].double().mean()),
        "ratio": float((result.mean - truth).square().mean().sqrt() / expected),
        "residual": float(result.residual.square().mean().sqrt() / result.noise),
        "nfe": result.nfe,
        "seconds": result.seconds,
    }


def ranked(samples: Tensor, truth: Tensor) -> Tensor:
    """Whether the rank of the truth among the samples lies in the central 90 %, (m, *event).

    Digits are integers and often exactly 0, so samples are rounded and ties broken at random: the rank of a
    truth of the same law as its n samples is then uniform, and exactly 90 % are inside (Czado, Gneiting &
    Held 2009, "Predictive model assessment for count data", section 2.1).
    """
    whole = samples.round()
    below = (whole < truth[:, None]).sum(1)
    ties = (whole == truth[:, None]).sum(1)
    u = noise.uniform(truth.shape[1:], seed=4, index=torch.arange(len(truth)), stream=noise.Stream.SIMULATE)
    rank = (below + u * (ties + 1)) / (samples.shape[1] + 1)
    return (rank > 0.5 * (1 - LEVEL)) & (rank < 0.5 * (1 + LEVEL))


HEADER = (
    "| | PSNR (dB) | beside the best classical | covered, all pixels | covered, pixels that vary | "
    "by ranks | error / deviation | residual / noise | evaluations | s |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    if "gain" not in row:
        return f"| {row['name']} | {row['psnr']:.2f} | | | | | | | | |"
    return (
        f"| {row['name']} | {row['psnr']:.2f} | {row['gain']:+.2f} ± {row['gain_error']:.2f} | "
        f"{row['covered']:.1%} | {row['covered_varying']:.1%} | {row['covered_ranks']:.1%} | "
        f"{row['ratio']:.2f} | {row['residual']:.2f} | {row['nfe']} | {row['seconds']:.0f} |"
    )


if __name__ == "__main__":
    main()
