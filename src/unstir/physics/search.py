"""How a protein finds its site on DNA: sliding along it between excursions through the solution.

A searcher lands anywhere on a ring of DNA of length L, slides with diffusivity D_1 until it comes off at rate
k, spends a time of mean tau_3 in solution, lands anywhere again, and so on until it slides over its site.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unstir import noise
from unstir.processes.sde_paths import bridge_touch

_NUMBERS = 13
_BLOCK = 32
"""Numbers for an event, and events drawn together."""


@dataclass(frozen=True)
class Searches:
    """What happened to simulated searchers.

    Attributes:
        times: (searchers,) float64, from the first landing to the site.
        sliding: (searchers,) float64, the part of it spent on the DNA.
        rounds: (searchers,) int64, landings, the first one included.
        trace: (points, 2) float64 of the first searcher, times and places (nan in solution), or None.
    """

    times: Tensor
    sliding: Tensor
    rounds: Tensor
    trace: Tensor | None


@dataclass(frozen=True)
class FacilitatedSearch:
    r"""Search by sliding and three-dimensional excursions.

    Source: Berg, Winter & von Hippel 1981; Coppey, Bénichou, Voituriez & Moreau 2004, "Kinetics of target
    site localization of a protein on DNA"; Mirny et al. 2009, "How a protein searches for its site on DNA".

    Args:
        length: L above 0, of the DNA, say base pairs.
        D: D_1 above 0, diffusivity along it, length^2 / time.
        off_rate: k above 0, 1 / time; a slide lasts tau_1 = 1 / k on average.
        tau_3d: mean time of an excursion, at least 0.

    Raises:
        ValueError: for a number out of range.
    """

    length: float
    D: float
    off_rate: float
    tau_3d: float

    def __post_init__(self) -> None:
        for name in ("length", "D", "off_rate"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ValueError(f"the {name} of a search is above 0 and finite, got {getattr(self, name)}")
        if not 0.0 <= self.tau_3d < math.inf:
            raise ValueError(f"the mean time of an excursion is at least 0 and finite, got {self.tau_3d}")

    @property
    def tau_1d(self) -> float:
        """Mean time of a slide that does not find the site, 1 / k."""
        return 1.0 / self.off_rate

    @property
    def sliding_length(self) -> float:
        """sqrt(D_1 / k): the site is found in a slide from distance x with probability exp(-x / it)."""
        return math.sqrt(self.D / self.off_rate)

    @property
    def scanned(self) -> float:
        """lambda, the length that a slide searches: twice the sliding length, once to each side."""
        return 2.0 * self.sliding_length

    def found_in_a_slide(self) -> float:
        r"""Probability that a slide from a random place finds the site, on a ring of any length.

        .. math:: q = \frac{2 l}{L} \tanh \frac{L}{2 l}, \quad l = \sqrt{D_1 / k}

        It is the mean over x of cosh((L/2 - x) / l) / cosh(L / 2l), which solves D_1 h'' = k h with h = 1 at
        the site.
        """
        y = self.length / self.scanned
        return math.tanh(y) / y

    def mean_time(self) -> float:
        r"""Mean time from a random landing to the site, exactly.

        .. math:: T = \Big(\frac{L}{2 l} \coth \frac{L}{2 l} - 1\Big) (\tau_1 + \tau_3)

        A slide takes (1 - q) / k on average, and 1/q - 1 excursions are needed; from the solution it is
        tau_3 more. Without coming off it tends to L^2 / 12 D_1.

        Source: Coppey et al. 2004, for a site that is found on contact.
        """
        y = self.length / self.scanned
        rounds = y / math.tanh(y) - 1.0 if y > 1e-2 else y**2 / 3.0 - y**4 / 45.0 + 2.0 * y**6 / 945.0
        return rounds * (self.tau_1d + self.tau_3d)

    def long_mean_time(self) -> float:
        """(L / lambda) (tau_1 + tau_3), the limit for DNA much longer than a slide; Mirny et al. 2009."""
        return self.length / self.scanned * (self.tau_1d + self.tau_3d)

    def optimum(self) -> FacilitatedSearch:
        """The same search with the off rate that makes the mean time least.

        For long DNA it is 1 / tau_3: as much time sliding as in solution (Berg, Winter & von Hippel 1981;
        Coppey et al. 2004). On DNA so short that coming off never pays, the rate tends to 0 and is returned
        at the end of the range searched, 1e-6 / tau_3.

        Raises:
            ValueError: without excursions, where coming off at once is best.
        """
        from scipy.optimize import minimize_scalar

        if self.tau_3d == 0.0:
            raise ValueError("excursions that take no time make the best off rate infinite; give tau_3d > 0")

        def cost(log_rate: float) -> float:
            return math.log(replace(self, off_rate=math.exp(log_rate)).mean_time())

        centre = -math.log(self.tau_3d)
        best = minimize_scalar(
            cost, bounds=(centre - 13.8, centre + 13.8), method="bounded", options={"xatol": 1e-9}
        )
        return replace(self, off_rate=math.exp(float(best.x)))

    def simulate(
        self,
        searchers: int,
        *,
        longest_step: float | None = None,
        trace: bool = False,
        seed: int = 0,
        first_index: int = 0,
    ) -> Searches:
        """Searchers from a random landing to the site, event by event.

        Each step of a slide ends when the searcher comes off, or after the longest step; whether and when
        its Brownian path met the site in between is drawn from the bridge, so the law holds at any length of
        step that is short against the time to go round (the default moves some tenth of the ring).

        Args:
            searchers: how many.
            longest_step: of a slide, time.
            trace: keep the places of the first searcher.
            seed: searcher i of a seed does the same in any company.
            first_index: number of the first searcher within the seed.

        Raises:
            ValueError: for fewer than one searcher, or a step that is not above 0.
        """
        longest = 0.005 * self.length**2 / self.D if longest_step is None else longest_step
        if searchers < 1 or not longest > 0.0:
            raise ValueError(f"a simulation has searchers and a step above 0, got {searchers} and {longest}")
        index = torch.arange(first_index, first_index + searchers)

        def draw(which: Tensor, block: int) -> Tensor:
            count = (_BLOCK, _NUMBERS)
            return noise.uniform(count, seed=seed, index=which, stream=noise.Stream.SEARCH, step=block)

        x = self.length * draw(index, 0)[:, 0, 0]
        clock, sliding = torch.zeros_like(x), torch.zeros_like(x)
        rounds, active = torch.ones_like(index), torch.arange(searchers)
        points = [(0.0, float(x[0]))]
        step, numbers = 0, draw(index, 1)
        while len(active):
            u = numbers[:, step % _BLOCK]
            step += 1
            stay = -u[:, 0].log() / self.off_rate
            lasted = stay.clamp(max=longest)
            variance = 2.0 * self.D * lasted
            z = (-2.0 * u[:, 1].log()).sqrt() * (2.0 * math.pi * u[:, 2]).cos()
            here, there = x[active], x[active] + variance.sqrt() * z
            # On the line the site lies at both ends of the ring.
            share = torch.minimum(
                bridge_touch(here, there, variance, u[:, 3:7]),
                bridge_touch(self.length - here, self.length - there, variance, u[:, 7:11]),
            )
            found = torch.isfinite(share)
            off = ~found & (stay <= longest)
            slid = torch.where(found, share, 1.0) * lasted
            away = torch.where(off, -self.tau_3d * u[:, 11].log(), 0.0)
            if trace and int(active[0]) == 0:
                time, place = float(clock[0] + slid[0]), float(there[0])
                points.append(
                    (time, (0.0 if place < 0.5 * self.length else self.length) if found[0] else place)
                )
                if off[0]:
                    points += [(time, math.nan), (time + float(away[0]), float(self.length * u[0, 12]))]
            clock[active] += slid + away
            sliding[active] += slid
            rounds[active] += off.long()
            x[active] = torch.where(off, self.length * u[:, 12], there)
            if bool(found.any()):
                active, numbers = active[~found], numbers[~found]
            if step % _BLOCK == 0:
                numbers = draw(index[active], 1 + step // _BLOCK)
        kept = torch.tensor(points, dtype=torch.float64) if trace else None
        return Searches(clock, sliding, rounds, kept)


def smoluchowski_time(volume: float, D: float, radius: float) -> float:
    r"""Mean time of a purely three-dimensional search, V / (4 pi D b).

    Source: von Smoluchowski 1917; Berg & von Hippel 1985, "Diffusion-controlled macromolecular interactions".

    Args:
        volume: V above 0, in which one searcher looks for one site.
        D: diffusivity in solution above 0.
        radius: b above 0, at which the site catches.

    Raises:
        ValueError: for a number that is not above 0.
    """
    if not (volume > 0 and D > 0 and radius > 0):
        raise ValueError(f"volume, D and radius are above 0, got {volume}, {D} and {radius}")
    return volume / (4.0 * math.pi * D * radius)
