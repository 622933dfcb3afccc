r"""Atoms that hop between the sites of a lattice, by kinetic Monte Carlo: carbon in iron, and any lattice.

.. math:: \langle |r(t) - r(0)|^2 \rangle = 2 d D t,\qquad \Gamma = \nu_0 e^{-E / kT}

With Gamma the total rate of leaving a site, carbon between the octahedral sites of bcc iron (four neighbours,
a/2 away) has D = a^2 Gamma / 24. For hopping on any graph of rates see `hop_on_graph`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from unstir import noise
from unstir.physics.constants import BOLTZMANN, CHARGE, check_temperature
from unstir.physics.lattices import Lattice, octahedral_bcc
from unstir.processes.paths import Paths, RateTable, checked_times, gillespie, poisson_counts
from unstir.spaces import Graph

_KELVIN = BOLTZMANN / CHARGE
"""Boltzmann's constant, eV / K."""
IRON = 2.8665e-10
"""m, lattice constant of bcc iron at room temperature (Basinski, Hume-Rothery & Sutton 1955)."""

_CHUNK = 8192
_WORDS = 8
"""Random words that a walker takes at a time."""
_FIELD = 20
"""Bits of each coordinate of a packed displacement, below three bits of the kind of site."""


@dataclass(frozen=True)
class Arrhenius:
    r"""The total rate of leaving a site, :math:`\Gamma = \nu_0 \exp(-E / kT)`.

    Args:
        prefactor: nu_0, 1 / s, summed over all neighbours.
        energy: E, eV, the height of the barrier.

    Raises:
        ValueError: unless both are above 0.
    """

    prefactor: float
    energy: float

    def __post_init__(self) -> None:
        if not (0.0 < self.prefactor < math.inf and 0.0 < self.energy < math.inf):
            raise ValueError("an Arrhenius rate needs a prefactor (1/s) and a barrier (eV) above 0")

    def rate(self, temperature: float) -> float:
        """Gamma at a temperature in K, 1 / s."""
        check_temperature(temperature)
        return self.prefactor * math.exp(-self.energy / (_KELVIN * temperature))


def carbon_in_iron(d_0: float = 2.0e-6, energy: float = 0.86, spacing: float = IRON) -> Arrhenius:
    """Hopping of interstitial carbon in alpha iron, with nu_0 = 24 D_0 / a^2 = 5.8e14 / s by default.

    Args:
        d_0: prefactor of the diffusivity, m^2 / s: 0.02 cm^2 / s by Wert 1950 (internal friction and
            earlier data, -35 to 800 C), whose barrier is 20,100 cal / mol = 0.872 eV.
        energy: barrier, eV: 0.86 by Jiang & Carter 2003 (density functional theory).
        spacing: lattice constant a, m.
    """
    return Arrhenius(24.0 * d_0 / spacing**2, energy)


class Hops(NamedTuple):
    """Walkers observed at given times.

    Attributes:
        times: (T,) s.
        positions: (T, walkers, 3) displacement since time 0, m, float64.
        kinds: (T, walkers) int64, the kind of site (for octahedral sites their axis).
        hops: (walkers,) int64, events of each walker until the last time.
    """

    times: Tensor
    positions: Tensor
    kinds: Tensor
    hops: Tensor


def hop(
    lattice: Lattice | None = None,
    *,
    rate: float,
    times: Tensor | Sequence[float],
    walkers: int,
    seed: int = 0,
    first_index: int = 0,
) -> Hops:
    r"""Kinetic Monte Carlo of independent walkers on a lattice whose sites are all left at the same rate.

    What is drawn: for each walker and interval between observations the number of hops, Poisson with mean
    Gamma dt, and for each of these hops its direction, one of the site's neighbours alike. That is the law
    of the residence-time algorithm (Bortz, Kalos & Lebowitz 1975) at the times of observation, because with
    one exit rate the waiting times do not depend on the directions; single waiting times are not drawn
    (`hop_on_graph` draws them). Directions come as whole digits of random words, 2 bits a hop with four
    neighbours, and a table adds several hops at once; no hop is left out or approximated. With a number of
    neighbours that is not a power of two, directions are alike up to 2^-37. Walker i starts on kind i modulo
    the number of kinds, so all kinds alike.

    Args:
        lattice: by default octahedral sites of bcc iron.
        rate: Gamma, 1 / s, the total rate of leaving a site.
        times: (T,) increasing, s, at least 0.
        walkers: how many.
        seed: walker i of a seed is the same whatever their number.
        first_index: number of the first walker within the seed.

    Raises:
        ValueError: for a rate or times out of range, or more than 2^19 hops or so in one interval (look at
            more times: a displacement must fit 20 bits).
    """
    lattice = octahedral_bcc(IRON) if lattice is None else lattice
    times = checked_times(times)
    if not 0.0 < rate < math.inf or walkers < 1:
        raise ValueError(f"hopping needs a rate above 0 and at least 1 walker, got {rate} and {walkers}")
    means = (rate * times.diff(prepend=times.new_zeros(1))).tolist()
    reach = int(lattice.moves.abs().max()) * (max(means) + 12.0 * math.sqrt(max(means)) + 60.0)
    if reach >= 2 ** (_FIELD - 1):
        raise ValueError(
            f"some {max(means):.3g} hops fall into one interval, more than a displacement can hold; give "
            f"more times of observation, at least {math.ceil(2 * reach / 2**_FIELD)} for each one"
        )
    table = _Table(lattice)
    moved = torch.empty((len(means), walkers), dtype=torch.int64)
    hops = torch.empty(walkers, dtype=torch.int64)
    for first in range(0, walkers, _CHUNK):
        part = slice(first, min(first + _CHUNK, walkers))
        index = torch.arange(part.start, part.stop) + first_index
        moved[:, part], hops[part] = _walk(table, means, seed, index)
    kinds, steps = table.unpack(moved)
    return Hops(times, steps.cumsum(0).double() * lattice.unit, kinds, hops)


def _walk(table: _Table, means: list[float], seed: int, index: Tensor) -> tuple[Tensor, Tensor]:
    """Packed displacement in each interval with the kind of site at its end, (T, batch), and the hops."""
    kind = index % table.kinds
    hops, moved = torch.zeros_like(index), []
    segment = 0
    for interval, mean in enumerate(means):
        left = poisson_counts(mean, seed=seed, index=index, step=interval, stream=noise.Stream.HOP_COUNT)
        hops += left
        total = torch.zeros_like(index)
        # Segments are numbered by what the interval may take at most, the same whoever walks along.
        for turn in range(math.ceil(int(left.max()) / table.segment)):
            codes = table.codes(seed, index, segment + turn)
            for code in codes:
                whole = int(left.min()) >= table.depth
                value = table.whole(kind, code) if whole else table.partial(kind, code, left)
                kind = value & 7
                total += value >> 3
                left = left - table.depth if whole else (left - table.depth).clamp(min=0)
        segment += math.ceil((mean + 12.0 * math.sqrt(mean) + 60.0) / table.segment)
        moved.append((total << 3) + kind)
    return torch.stack(moved), hops


class _Table:
    """Where 0 to ``depth`` hops lead from each kind of site, for every string of directions.

    An entry packs the three coordinates, 20 bits each and signed, above three bits of the kind of site.
    """

    def __init__(self, lattice: Lattice) -> None:
        self.kinds, self.ways = lattice.next.shape
        self.depth = max(1, int(math.log(2**16) / math.log(self.ways) + 1e-9))
        self.bits = self.ways.bit_length() - 1 if self.ways & (self.ways - 1) == 0 else None
        # A power of two takes its digits out of halves of words, other numbers out of 53 bits each.
        self.segment = (2 * _WORDS if self.bits else _WORDS // 2) * self.depth
        shift = torch.tensor([1, 1 << _FIELD, 1 << 2 * _FIELD])
        self._step = (lattice.moves * shift).sum(-1).flatten()
        self._next = lattice.next.flatten()
        strings = self.ways**self.depth
        parts = [self._lead(n) for n in range(self.depth + 1)]
        self._entries = torch.cat([part.flatten() for part in parts])
        sizes = torch.tensor([0, *(part.numel() for part in parts)])
        self._first = sizes.cumsum(0)[:-1]
        self._last = int(self._first[-1])
        self._strings = torch.tensor([self.ways**n for n in range(self.depth + 1)])
        self._all = strings

    def _lead(self, hops: int) -> Tensor:
        """Packed (kinds, ways^hops): where strings of that many directions lead, the first digit lowest."""
        string = torch.arange(self.ways**hops)
        kind = torch.arange(self.kinds)[:, None].expand(-1, len(string))
        total = torch.zeros_like(kind)
        for _ in range(hops):
            place = kind * self.ways + string % self.ways
            total, kind = total + self._step[place], self._next[place]
            string = string // self.ways
        return (total << 3) + kind

    def codes(self, seed: int, index: Tensor, segment: int) -> Tensor:
        """Strings of directions, (segment / depth, batch), each alike."""
        words = noise.words(_WORDS, seed=seed, index=index, stream=noise.Stream.HOP, step=segment)
        words = words.T.contiguous()
        if self.bits:
            width = self.bits * self.depth
            halves = torch.stack([words & 0xFFFF, words >> 16], dim=1).flatten(0, 1)
            return halves & ((1 << width) - 1)
        fine = ((words[0::2] << 21) + (words[1::2] >> 11)).double() * 2.0**-53
        code: Tensor = (fine * self._all).long()
        return code

    def whole(self, kind: Tensor, code: Tensor) -> Tensor:
        """The entries of ``depth`` hops."""
        return self._entries.index_select(0, torch.add(code, kind, alpha=self._all).add_(self._last))

    def partial(self, kind: Tensor, code: Tensor, left: Tensor) -> Tensor:
        """The entries of at most ``depth`` hops, as many as are left."""
        hops = left.clamp(max=self.depth)
        strings = self._strings[hops]
        return self._entries.index_select(0, self._first[hops] + kind * strings + code % strings)

    def unpack(self, moved: Tensor) -> tuple[Tensor, Tensor]:
        """The kind of site, and the coordinates (..., 3)."""
        kind, rest, steps = moved & 7, moved >> 3, []
        half, full = 1 << (_FIELD - 1), 1 << _FIELD
        for _ in range(3):
            low = ((rest + half) & (full - 1)) - half
            steps.append(low)
            rest = (rest - low) >> _FIELD
        return kind, torch.stack(steps, -1)


def hop_on_graph(
    rates: Graph | Tensor | RateTable,
    start: Tensor,
    times: Tensor | Sequence[float],
    *,
    seed: int = 0,
    first_index: int = 0,
) -> Paths:
    """Kinetic Monte Carlo on any graph: rejection-free, each waiting time and each target drawn.

    Args:
        rates: a graph whose weight [i, j] is the rate of hopping from i to j, 1 / s, a matrix of them (dense
            or sparse), or a prepared `RateTable`.
        start: (walkers,) int64, the node of each walker at time 0.
        times: (T,) increasing, s: when to look.
        seed: walker i of a seed is the same whatever their number.
        first_index: number of the first walker within the seed.

    Returns:
        `Paths`: the nodes at the times (T, walkers), and the number of events of each walker.

    Raises:
        ValueError: for times that do not increase from 0, or nodes that do not exist.
    """
    table = rates.adjacency if isinstance(rates, Graph) else rates
    return gillespie(table, start, times, seed=seed, first_index=first_index)


class Diffusivity(NamedTuple):
    """A diffusivity and its standard error, m^2 / s."""

    value: float
    error: float


def fit_diffusivity(hops: Hops) -> Diffusivity:
    r"""D from the mean squared displacements of the intervals between observations.

    .. math:: D = \frac{\sum_k |r(t_{k+1}) - r(t_k)|^2}{2 d\,(t_T - t_0)}

    For independent increments this is the generalised least-squares slope of the mean squared displacement,
    whose values at different times are correlated: an ordinary fit is less sure, and not of how sure it is.
    Walkers are independent, so their spread gives the error. Source: Michalet 2010, section III.

    Raises:
        ValueError: for fewer than two walkers.
    """
    if hops.positions.shape[1] < 2:
        raise ValueError("the error of a diffusivity needs at least 2 walkers")
    steps = torch.diff(hops.positions, dim=0, prepend=torch.zeros_like(hops.positions[:1]))
    each = steps.square().sum((0, 2)) / (2.0 * steps.shape[2] * float(hops.times[-1]))
    return Diffusivity(float(each.mean()), float(each.std()) / math.sqrt(len(each)))


class ArrheniusFit(NamedTuple):
    """A fitted law D = d_0 exp(-E / kT), with standard errors (that of d_0 as a relative one)."""

    d_0: float
    energy: float
    relative_error: float
    energy_error: float


def fit_arrhenius(temperatures: Sequence[float], fits: Sequence[Diffusivity]) -> ArrheniusFit:
    """Weighted straight line of log D over 1 / kT.

    Args:
        temperatures: (n,) K, at least two different ones.
        fits: (n,) diffusivities with their errors.

    Raises:
        ValueError: for fewer than two temperatures, or diffusivities that are not positive.
    """
    inverse = 1.0 / (_KELVIN * torch.tensor(temperatures, dtype=torch.float64))
    values = torch.tensor([[fit.value, fit.error] for fit in fits], dtype=torch.float64)
    if len(set(temperatures)) < 2 or len(values) != len(inverse) or not bool((values > 0.0).all()):
        raise ValueError(
            "an Arrhenius fit needs positive diffusivities with errors at 2 or more temperatures"
        )
    design = torch.stack([torch.ones_like(inverse), -inverse], 1)
    weight = values[:, 0] / values[:, 1]
    covariance = torch.linalg.inv((design * weight[:, None] ** 2).mT @ design)
    line = covariance @ (design * weight[:, None] ** 2).mT @ values[:, 0].log()
    errors = covariance.diagonal().sqrt()
    return ArrheniusFit(math.exp(float(line[0])), float(line[1]), float(errors[0]), float(errors[1]))
