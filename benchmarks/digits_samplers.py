"""Quality against evaluations on digits: the Fréchet distance of every sampler from one trained model.

Run: python benchmarks/digits_samplers.py runs/digits [--seeds 2] [--out FILE.json] [--picture FILE.png]

The run comes from `unstir train digits`; a second folder, `--distilled`, from `unstir distill`. 1,000 samples
by class a seed, measured against the training split by the run's judge, beside the held-out split's distance.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from unstir.evaluation.pictures import figure_to_image, new_figure, save_image
from unstir.recipes.assess import assess_run

RUNS: tuple[tuple[str, int], ...] = (
    *(("multistep", n) for n in (4, 5, 6, 8, 10, 20, 50)),
    *(("unipc", n) for n in (5, 8, 10, 20)),
    *(("dpmpp-2m", n) for n in (5, 8, 10, 20)),
    *(("dpmpp-3m", n) for n in (8, 20)),
    *(("deis", n) for n in (8, 20)),
    *(("ddim", n) for n in (5, 8, 10, 20, 50)),
    *(("heun", n) for n in (5, 10, 25)),
    *(("dpm-solver-2s", n) for n in (4, 10)),
    *(("dpmpp-2m-sde", n) for n in (10, 20, 50)),
    *(("sa", n) for n in (10, 20, 50)),
    *(("stochastic-heun", n) for n in (10, 25)),
    *(("edm", n) for n in (10, 25)),
    *(("euler-maruyama", n) for n in (50, 200)),
    *(("predictor-corrector", n) for n in (25, 100)),
    ("adaptive", 1),
    *(("ddpm", n) for n in (20, 50, 200, 1000)),
    *(("ddpm-beta", n) for n in (50, 200)),
)
"""Solver and steps; the table shows evaluations."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--distilled", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--solvers", help="names, separated by commas; default: all")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = options.solvers.split(",") if options.solvers else [solver for solver, _ in RUNS]
    rows = [measure(options.run, *run, options.seeds) for run in RUNS if run[0] in chosen]
    if options.distilled:
        rows += [measure(options.distilled, "consistency", steps, options.seeds) for steps in (1, 2, 4)]
    if options.out:
        options.out.write_text(json.dumps(rows, indent=2) + "\n")
    if options.picture:
        draw(rows, options.picture)


def measure(run: Path, solver: str, steps: int, seeds: int) -> dict[str, Any]:
    """The mean Fréchet distance of a sampler over seeds; one seed for more than 200 steps."""
    started, values, evaluations, heldout = time.perf_counter(), [], 0, 0.0
    for seed in range(seeds if steps <= 200 else 1):
        result = assess_run(run, n=1000, solver=solver, steps=steps, seed=seed).to_dict()
        figure = result["figures"]["frechet"]
        values.append(figure["samples"])
        heldout, evaluations = figure["heldout"], result["sampling"]["nfe"]
    row = {
        "solver": solver,
        "steps": steps,
        "evaluations": evaluations,
        "frechet": statistics.mean(values),
        "seeds": values,
        "heldout": heldout,
        "seconds": (time.perf_counter() - started) / len(values),
    }
    print(
        f"{solver:20s} {evaluations:6d} evaluations  {row['frechet']:.4f}  {row['seconds']:.1f} s", flush=True
    )
    return row


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Fréchet distance over evaluations, one line a solver."""
    figure, axes = new_figure(8.0, 5.0)
    for place, solver in enumerate(dict.fromkeys(row["solver"] for row in rows)):
        mine = sorted((row["evaluations"], row["frechet"]) for row in rows if row["solver"] == solver)
        axes.plot(
            *zip(*mine, strict=True),
            marker="os^Dv"[place % 5],
            color=f"C{place % 10}",
            linestyle="-" if place < 10 else "--",
            linewidth=2.5 if solver in ("multistep", "consistency") else 1.0,
            markersize=5,
            label=solver,
        )
    axes.axhline(rows[0]["heldout"], color="grey", linestyle=":", label="held-out digits")
    axes.set(xscale="log", yscale="log", xlabel="evaluations of the network", ylabel="Fréchet distance")
    axes.yaxis.set_minor_formatter("")
    axes.set_yticks([0.1, 0.2, 0.5, 1.0, 2.0], ["0.1", "0.2", "0.5", "1", "2"])
    axes.set_xticks([1, 2, 5, 10, 20, 50, 200, 1000], ["1", "2", "5", "10", "20", "50", "200", "1,000"])
    axes.legend(fontsize=7, frameon=False, ncols=2)
    axes.grid(visible=True, alpha=0.3)
    save_image(figure_to_image(figure), path)


if __name__ == "__main__":
    main()
