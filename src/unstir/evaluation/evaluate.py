"""All figures of one set of samples, each beside what held-out data would score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from unstir.evaluation.coverage import precision_recall
from unstir.evaluation.distances import GaussianKernels, frechet_distance, mmd, sliced_wasserstein
from unstir.evaluation.features import Features
from unstir.evaluation.inputs import class_labels, flat_pair, subset
from unstir.evaluation.judge import Judge
from unstir.evaluation.memorisation import Memorisation, memorisation_test

if TYPE_CHECKING:
    from rich.table import Table

Better = Literal["lower", "higher", "near heldout"]


@dataclass(frozen=True)
class Figure:
    """One figure of the samples beside the same figure of held-out data.

    Attributes:
        samples: its value for the samples.
        heldout: its value for held-out data: what a perfect model would score.
        better: which way is better.
        explanation: what it says, in one line.
        signed: whether it scatters round 0, so that a ratio would say nothing.
    """

    samples: float
    heldout: float
    better: Better
    explanation: str
    signed: bool = False

    @property
    def ratio(self) -> float | None:
        """samples / heldout, or None where that says nothing."""
        return None if self.signed or self.heldout == 0 else self.samples / self.heldout


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The figures by name, the memorisation test with its nearest points, and the sizes they rest on."""

    figures: Mapping[str, Figure]
    memorisation: Memorisation
    sizes: Mapping[str, int]

    def __getitem__(self, name: str) -> Figure:
        return self.figures[name]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the tensors, ready for JSON."""
        figures = {
            name: {
                "samples": figure.samples,
                "heldout": figure.heldout,
                "ratio": figure.ratio,
                "better": figure.better,
                "explanation": figure.explanation,
            }
            for name, figure in self.figures.items()
        }
        return {"figures": figures, "memorisation": self.memorisation.to_dict(), "sizes": dict(self.sizes)}

    def table(self) -> Table:
        """The figures for a terminal; what each means is in `to_dict` and on the report."""
        from rich.table import Table

        table = Table(title="Samples beside held-out data")
        table.add_column("figure")
        for column in ("samples", "held-out", "ratio"):
            table.add_column(column, justify="right")
        table.add_column("better")
        for name, figure in self.figures.items():
            ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
            numbers = (f"{figure.samples:.4g}", f"{figure.heldout:.4g}", ratio)
            table.add_row(name.replace("_", " "), *numbers, figure.better)
        return table


def evaluate(
    samples: Tensor,
    train: Tensor,
    heldout: Tensor,
    *,
    features: Features,
    labels: Tensor | None = None,
    judge: Judge | None = None,
    seed: int = 0,
    k: int = 5,
    limit: int = 10_000,
) -> Evaluation:
    """Compare samples with the training data, and held-out data with the training data beside them.

    The Fréchet distance falls by about 1/n as a set grows, and held-out data are usually few: the plain
    ``frechet`` then favours the samples. ``frechet_matched`` takes as many samples as held-out data (or the
    reverse), and so do sliced Wasserstein, precision, recall, density and coverage, which depend on the
    sizes as well; read these columns against each other. MMD is unbiased and takes all. Where labels are
    given the subset of the samples keeps their shares, as a held-out set split by class does.

    Args:
        samples: (n, *event), generated.
        train: (N, *event).
        heldout: (m, *event), not seen in training.
        features: what the distances look at, as a `Judge`, `PCAFeatures` or `InceptionFeatures`; nearest
            neighbours are of the events themselves, because these are what a model could copy.
        labels: (n,) the class that was wanted of each sample; needs a judge.
        judge: tells whether samples are of the wanted class.
        seed: decides subsets and projections.
        k: the neighbour that precision and its kin reach to.
        limit: most points of a set in the figures of all pairs; larger sets take part with a random subset.

    Returns:
        The figures: frechet, frechet_matched, sliced_wasserstein, mmd, precision, recall, density,
        coverage, nearest_distance, share_nearer, and label_accuracy where labels are given.

    Raises:
        ValueError: for sets with no more than k samples, different event shapes, values that are not
            finite, labels without a judge, or labels out of range.
    """
    least = max(2, k + 1)
    flat_pair(samples, train, ("samples", "train"), least)
    flat_pair(heldout, train, ("heldout", "train"), least)
    if labels is not None:
        if judge is None:
            raise ValueError("labels were given but no judge to check the samples against them")
        labels = class_labels(labels, len(samples), judge.classes, "labels")
    x, y, reference = (features.features(some).double() for some in (samples, heldout, train))
    matched = min(len(x), len(y))
    # A held-out set split by class has even shares of them; uneven ones would cost the samples more than
    # all that is wrong with them.
    x_matched = subset(x, matched, seed=seed, labels=labels)
    y_matched = subset(y, matched, seed=seed, step=1)
    figures = {
        "frechet": Figure(
            frechet_distance(x, reference),
            frechet_distance(y, reference),
            "lower",
            "Fréchet distance of the features to the training data, all samples (biased by their number)",
        ),
        "frechet_matched": Figure(
            frechet_distance(x_matched, reference),
            frechet_distance(y_matched, reference),
            "lower",
            f"the same with {matched} of each: compare these two",
        ),
        "sliced_wasserstein": Figure(
            sliced_wasserstein(x_matched, reference, seed=seed),
            sliced_wasserstein(y_matched, reference, seed=seed),
            "lower",
            "how far features must be moved to become the training data's, averaged over directions",
        ),
    }
    x, y = subset(x, limit, seed=seed), subset(y, limit, seed=seed, step=1)
    reference = subset(reference, limit, seed=seed, step=2)
    kernel = GaussianKernels.around_median(y, reference, seed=seed)
    figures["mmd"] = Figure(
        mmd(x, reference, kernel),
        mmd(y, reference, kernel),
        "lower",
        "squared maximum mean discrepancy of the features; scatters round 0 for equal distributions",
        signed=True,
    )
    figures |= _neighbourhoods(
        subset(x_matched, limit, seed=seed), subset(y_matched, limit, seed=seed), reference, k
    )
    copying = memorisation_test(samples, train, heldout)
    figures["nearest_distance"] = Figure(
        copying.mean_distance,
        copying.heldout_mean_distance,
        "near heldout",
        f"mean distance to the nearest training sample; chance of one as small: p = {copying.p_value:.2g}",
    )
    figures["share_nearer"] = Figure(
        copying.share_nearer,
        0.01,
        "near heldout",
        "share of samples nearer to a training sample than 99 % of held-out data are",
    )
    if labels is not None and judge is not None:
        right = judge.predict(samples).cpu() == labels.cpu()
        figures["label_accuracy"] = Figure(
            float(right.double().mean()),
            judge.accuracy,
            "higher",
            "share of samples that the judge gives the wanted label; held-out is the judge's own accuracy",
        )
    sizes = {"samples": len(samples), "train": len(train), "heldout": len(heldout), "matched": matched}
    return Evaluation(figures, copying, sizes)


def _neighbourhoods(x: Tensor, y: Tensor, reference: Tensor, k: int) -> dict[str, Figure]:
    """Precision, recall, density and coverage of x and y, of equal sizes."""
    ours, theirs = precision_recall(x, reference, k), precision_recall(y, reference, k)
    explanations = {
        "precision": "share of samples that lie among the training data",
        "recall": "share of the training data that lie among the samples",
        "density": "how closely training data surround the samples",
        "coverage": "share of the training data with a sample close by",
    }
    return {
        name: Figure(getattr(ours, name), getattr(theirs, name), "higher", explanation)
        for name, explanation in explanations.items()
    }
