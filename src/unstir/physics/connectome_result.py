"""What a fit of the network diffusion model says: seed, age, correlations, p-values, and doubts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Seed:
    """A place where the spreading may have begun.

    Attributes:
        name: of the region, or of the regions joined by ' + '.
        correlation: Pearson's, at its best time.
        beta_t: that time.
        share: of the bootstrap samples in which this seed is the best of all.
    """

    name: str
    correlation: float
    beta_t: float
    share: float


@dataclass(frozen=True)
class ConnectomeFit:
    """The network diffusion model fitted to one number for each region.

    Attributes:
        column: what was measured.
        kind: of the Laplacian.
        level: of the intervals.
        seed: the best seed, or the one that was asked for.
        given: whether it was asked for.
        rank: of this seed among all, 1 for the best.
        seeds: all that were tried, best first.
        beta_t: rate times time, at the largest correlation.
        profile: its interval by the F test on the residual sum of squares; None at an end that is open.
        bootstrap: its interval over resampled regions, a little narrow for few regions.
        pearson: correlation of prediction and measurement.
        pearson_elsewhere: the same without the seed itself.
        spearman: rank correlation of the same prediction.
        spearman_largest: the largest rank correlation of any prediction that was tried.
        p_shuffled: p-value against the values on shuffled regions, each with its own best seed and time.
        p_shuffled_spearman: the same for the largest rank correlation.
        p_rewired: p-value against random networks, each with its own best seed and time.
        rewired: how those networks were made.
        regions: names, of those with a measurement.
        predicted: (n,) the model at beta t, scaled to the measurements.
        measured: (n,).
        curve: (2, T) beta t and the correlation of this seed.
        components: connected components of the network.
        unreached: regions that the seed's component does not hold.
        unmatched: measured regions that the network does not have.
    """

    column: str
    kind: str
    level: float
    seed: Seed
    given: bool
    rank: int
    seeds: tuple[Seed, ...] = field(repr=False)
    beta_t: float
    profile: tuple[float | None, float | None]
    bootstrap: tuple[float, float]
    pearson: float
    pearson_elsewhere: float
    spearman: float
    spearman_largest: float
    p_shuffled: float
    p_shuffled_spearman: float
    p_rewired: float
    rewired: str
    regions: tuple[str, ...] = field(repr=False)
    predicted: Tensor = field(repr=False)
    measured: Tensor = field(repr=False)
    curve: Tensor = field(repr=False)
    components: int
    unreached: int
    unmatched: tuple[str, ...]

    def lines(self) -> list[str]:
        """The report, a line each."""
        percent = f"{100 * self.level:g} %"
        low, high = ("open" if end is None else f"{end:.3g}" for end in self.profile)
        seed = f"seed {self.seed.name}, as given (rank {self.rank} of {len(self.seeds)})"
        if not self.given:
            seed = (
                f"best of {len(self.seeds)} seeds: {self.seed.name}, in {self.seed.share:.0%} of bootstraps"
            )
        after = ", ".join(f"{s.name} {s.correlation:.2f}" for s in self.seeds[:4] if s != self.seed)
        found = [
            f"{self.column} of {len(self.regions)} regions: spreading by the {self.kind} Laplacian",
            f"{seed} (next: {after})" if after else seed,
            f"beta t = {self.beta_t:.3g}, {percent} interval {low} to {high} (profile), "
            f"{self.bootstrap[0]:.3g} to {self.bootstrap[1]:.3g} (bootstrap over regions)",
            f"Pearson r = {self.pearson:.3f} (without the seed {self.pearson_elsewhere:.3f}), "
            f"Spearman {self.spearman:.3f}",
            f"p = {self.p_shuffled:.3g} against shuffled regions (largest Spearman "
            f"{self.spearman_largest:.3f}, p = {self.p_shuffled_spearman:.3g})",
            f"p = {self.p_rewired:.3g} against {self.rewired}",
            f"each null has its own best {'time' if self.given else 'seed and time'}",
        ]
        return found + [f"note: {sentence}" for sentence in self.warnings()]

    def warnings(self) -> list[str]:
        """What a reader must know before using the numbers, one sentence each."""
        found = []
        if self.components > 1:
            found.append(
                f"the network has {self.components} components; nothing reaches {self.unreached} of its "
                "regions from this seed"
            )
        if self.unmatched:
            names = ", ".join(self.unmatched[:4]) + (", ..." if len(self.unmatched) > 4 else "")
            found.append(f"{len(self.unmatched)} measured regions are not in the network: {names}")
        if None in self.profile:
            side = "late" if self.profile[1] is None else "early"
            found.append(
                f"beta t is not bounded on the {side} side: the pattern no longer tells the time there"
            )
        if not self.given and self.seed.share < 0.5:
            found.append("the seed is uncertain: in most bootstrap samples another is best")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data; an open end of an interval is None."""
        return {
            "column": self.column,
            "laplacian": self.kind,
            "level": self.level,
            "seed": self.seed.name,
            "seed_given": self.given,
            "seed_rank": self.rank,
            "parameters": {
                "beta_t": {
                    "value": self.beta_t,
                    "profile": list(self.profile),
                    "bootstrap": list(self.bootstrap),
                }
            },
            "pearson": self.pearson,
            "pearson_without_seed": self.pearson_elsewhere,
            "spearman": self.spearman,
            "spearman_largest": self.spearman_largest,
            "p": {
                "shuffled": self.p_shuffled,
                "shuffled_spearman": self.p_shuffled_spearman,
                "rewired": self.p_rewired,
                "rewired_how": self.rewired,
            },
            "seeds": [
                {"name": s.name, "pearson": s.correlation, "beta_t": s.beta_t, "bootstrap_share": s.share}
                for s in self.seeds
            ],
            "regions": {
                name: {"measured": m, "predicted": p}
                for name, m, p in zip(
                    self.regions, self.measured.tolist(), self.predicted.tolist(), strict=True
                )
            },
            "components": self.components,
            "unmatched": list(self.unmatched),
            "warnings": self.warnings(),
        }

    def draw(self, figure: Figure) -> None:
        """Prediction against measurement, the correlation over time, and the best seeds, into a figure."""
        from unstir.physics.connectome_picture import draw_fit

        draw_fit(self, figure)
