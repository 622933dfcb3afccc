"""The price of guidance on digits: label accuracy beside precision, recall and Fréchet distance.

Run: python benchmarks/digits_guidance.py runs/digits [--weaker DIR] [--out FILE.json] [--picture FILE.png]

The run comes from `unstir train digits`, its classifier from `unstir train DIR --classifier`; `--weaker` is
a run of less training, for autoguidance. 2,000 samples by class at each weight, measured against the
training split by the run's judge, beside the held-out split.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unstir import evaluation as ev
from unstir.evaluation.pictures import figure_to_image, save_image
from unstir.guidance import Autoguidance, Classifier, ClassifierFree, PlusPlus
from unstir.model import load
from unstir.recipes.assess import Assessment, assess_run, data_units
from unstir.recipes.classifier import load_critic
from unstir.samplers import find_solver, make_grid

STEPS = 20
WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--weaker", type=Path)
    parser.add_argument("-n", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = assess_run(options.run, n=100)
    table = Table(result, options.n)
    print(
        "| guidance | weight | label accuracy | precision | recall | Fréchet distance |\n" + "|---" * 6 + "|"
    )
    table.heldout()
    for name, weights, guide in methods(result, options):
        for weight in weights:
            table.measure(name, weight, guide)
    if options.out:
        options.out.write_text(json.dumps(table.rows, indent=2) + "\n")
    if options.picture:
        draw(table.rows, options.picture)


def methods(result: Assessment, options: argparse.Namespace) -> list[tuple[str, tuple[float, ...], Any]]:
    """Name, weights, and a function weight -> (denoiser -> denoiser)."""
    model = result.model
    grid = make_grid(find_solver("ddim").default_grid, model.schedule, STEPS, model.config.sigma_data)
    chosen: list[tuple[str, tuple[float, ...], Any]] = [
        ("classifier-free", WEIGHTS, lambda w: lambda d: ClassifierFree(d, w)),
        (
            "classifier-free, window 0.25 to 0.75",
            WEIGHTS[2:],
            lambda w: lambda d: ClassifierFree(d, w, (0.25, 0.75)),
        ),
        ("classifier-free, rescaled 0.7", WEIGHTS[2:], lambda w: lambda d: ClassifierFree(d, w, rescale=0.7)),
        ("CFG++ (ddim)", (0.25, 0.5, 0.75, 1.0), lambda w: lambda d: PlusPlus(d, w, grid)),
    ]
    if (options.run / "classifier.safetensors").is_file():
        critic = load_critic(options.run, model)
        chosen.append(
            ("classifier", WEIGHTS[1:], lambda w: lambda d: Classifier(d, critic, w, conditional=True))
        )
        chosen.append(
            ("classifier, unconditional denoiser", WEIGHTS, lambda w: lambda d: Classifier(d, critic, w))
        )
    if options.weaker:
        weaker = load(options.weaker).denoiser
        chosen.append(("autoguidance", WEIGHTS[1:], lambda w: lambda d: Autoguidance(d, weaker, w)))
    return chosen


class Table:
    """Rows of figures, printed as they come."""

    def __init__(self, result: Assessment, count: int) -> None:
        assert result.judge is not None
        self.result, self.judge, self.count = result, result.judge, count
        self.labels = torch.arange(count) % len(result.splits.classes)
        self.reference = self.judge.features(data_units(result.splits.train)).double()
        self.rows: list[dict[str, Any]] = []

    def heldout(self) -> None:
        """The row of held-out data."""
        split = self.result.splits.heldout
        self._row("held-out digits", None, data_units(split), torch.as_tensor(split.labels))

    def measure(self, name: str, weight: float, guide: Any) -> None:
        """One method at one weight."""
        x = self.result.model.sample(
            self.count,
            steps=STEPS,
            solver="ddim" if "ddim" in name else None,
            condition={"label": self.labels},
            guidance=0.0,
            guide=guide(weight),
        )
        self._row(name, weight, x, self.labels)

    def _row(self, name: str, weight: float | None, x: Tensor, labels: Tensor) -> None:
        features = self.judge.features(x).double()
        found = ev.precision_recall(features, self.reference)
        row = {
            "guidance": name,
            "weight": weight,
            "accuracy": float((self.judge.predict(x) == labels).double().mean()),
            "precision": found.precision,
            "recall": found.recall,
            "frechet": ev.frechet_distance(features, self.reference),
        }
        self.rows.append(row)
        shown = "" if weight is None else f"{weight:g}"
        print(
            f"| {name} | {shown} | {row['accuracy']:.1%} | {row['precision']:.3f} | {row['recall']:.3f} | "
            f"{row['frechet']:.3f} |",
            flush=True,
        )


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Label accuracy and recall over the weight, a line a method."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 4.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    heldout = rows[0]
    for axes, key, factor in ((left, "accuracy", 100.0), (right, "recall", 1.0)):
        for name in dict.fromkeys(row["guidance"] for row in rows[1:]):
            own = [row for row in rows if row["guidance"] == name]
            axes.plot(
                [r["weight"] for r in own], [factor * r[key] for r in own], "o-", markersize=3.5, label=name
            )
        axes.axhline(factor * heldout[key], color="0.6", linestyle=":", label="held-out digits")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel("weight (CFG++: strength)")
    left.set(ylabel="label accuracy (%)", ylim=(90, 100.4), title="what guidance gives")
    right.set(ylabel="recall", ylim=(0, 1), title="what it costs")
    figure.legend(
        *right.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=8
    )
    save_image(figure_to_image(figure), path)


if __name__ == "__main__":
    main()
