"""Quality of `unstir train digits`: three seeds, each measured as the targets are worded.

Run: python benchmarks/digits.py [--seconds 90] [--repeats 3] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from unstir.model import load
from unstir.recipes import find_recipe
from unstir.recipes.assess import assess_run
from unstir.recipes.run import train_run
from unstir.settings import parse_settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(2)
    rows = [measure(options.seconds, seed) for seed in range(options.repeats)]
    medians = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
    print_table(rows, medians)
    if options.out:
        options.out.write_text(json.dumps({"rows": rows, "medians": medians}, indent=2) + "\n")


def measure(seconds: float, seed: int) -> dict[str, Any]:
    """Train with one seed, draw 1,000 samples by class, measure them."""
    settings = find_recipe("digits")
    values = settings.model_dump(mode="json")
    values["training"] |= {"seconds": seconds, "samples": None, "seed": seed}
    values["evaluation"] |= {"samples": 1000, "seed": seed}
    settings = parse_settings(type(settings), values)
    with tempfile.TemporaryDirectory() as folder:
        outcome = train_run(settings, Path(folder))
        result = assess_run(Path(folder))
        figures = result.evaluation.figures
        return {
            "seed": seed,
            "seconds": round(outcome.seconds, 1),
            "samples_seen": outcome.samples,
            "evaluations": result.options["nfe"] * (2 if result.options["guidance"] else 1),
            "accuracy": figures["label_accuracy"].samples,
            "judge_accuracy": figures["label_accuracy"].heldout,
            "frechet": figures["frechet"].samples,
            "frechet_ratio": figures["frechet"].ratio,
            "nearest_ratio": figures["nearest_distance"].ratio,
            "recall": figures["recall"].samples,
            "heldout_recall": figures["recall"].heldout,
            "ten_evaluations_seconds": ten_evaluations(Path(folder)),
        }


def ten_evaluations(folder: Path) -> float:
    """Seconds for 1,000 samples by class with 10 network evaluations each, the fastest of three."""
    model = load(folder)
    labels = torch.arange(1000) % 10
    times = []
    for _ in range(3):
        started = time.perf_counter()
        model.sample(1000, steps=10, condition={"label": labels}, guidance=0.0)
        times.append(time.perf_counter() - started)
    return min(times)


def print_table(rows: list[dict[str, Any]], medians: dict[str, Any]) -> None:
    """As Markdown."""
    keys = list(rows[0])
    print("| " + " | ".join(keys) + " |")
    print("|" + "---|" * len(keys))
    for row in [*rows, medians | {"seed": "median"}]:
        cells = (f"{row[k]:.4g}" if isinstance(row[k], float) else str(row[k]) for k in keys)
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
