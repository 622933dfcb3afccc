"""Hopping: diffusivities against closed forms, Arrhenius fits, laws of the walk, seeds."""

import math

import pytest
import torch
from scipy import stats

from tests.helpers import close
from unstir.physics.constants import BOLTZMANN, CHARGE
from unstir.physics.hopping import (
    Arrhenius,
    Diffusivity,
    carbon_in_iron,
    fit_arrhenius,
    fit_diffusivity,
    hop,
    hop_on_graph,
)
from unstir.physics.lattices import Lattice, octahedral_bcc, octahedral_fcc, simple_cubic, tetrahedral_bcc
from unstir.spaces import Graph

LATTICES = {
    "octahedral-bcc": (octahedral_bcc, 24.0),
    "tetrahedral-bcc": (tetrahedral_bcc, 48.0),
    "simple-cubic": (simple_cubic, 6.0),
    "octahedral-fcc": (octahedral_fcc, 12.0),
}


def dimer(unit=1.0):
    """A chain with two kinds of site, joined by short and long bonds that a hop tends to take back."""
    moves = torch.tensor([[[1, 0, 0], [-3, 0, 0]], [[-1, 0, 0], [3, 0, 0]]])
    return Lattice(unit, moves, torch.tensor([[1, 1], [0, 0]]))


@pytest.mark.parametrize("name", LATTICES)
def test_the_diffusivity_is_that_of_the_textbook(name):
    make, divisor = LATTICES[name]
    a, rate = 3e-10, 5.0
    expected = torch.eye(3, dtype=torch.float64) * (a**2 * rate / divisor)
    close(make(a).diffusivity(rate), expected, atol=1e-12 * a**2)


@pytest.mark.parametrize("name", LATTICES)
def test_every_site_is_left_the_way_it_is_reached(name):
    lattice = LATTICES[name][0](1.0)
    steps = {
        (kind, int(after), tuple(move))
        for kind, row in enumerate(lattice.next)
        for after, move in zip(row, lattice.moves[kind].tolist(), strict=True)
    }
    assert steps == {(b, a, tuple(-c for c in move)) for a, b, move in steps}
    assert len(steps) == lattice.next.numel()


@pytest.mark.parametrize("make", [m for m, _ in LATTICES.values()] + [dimer], ids=[*LATTICES, "dimer"])
def test_walkers_diffuse_with_the_exact_tensor(make):
    lattice, n = make(1.0), 4000
    hops = hop(lattice, rate=1.0, times=[400.0], walkers=n)
    final = hops.positions[0]
    expected = 2.0 * 400.0 * lattice.diffusivity(1.0)
    for axis in range(3):
        wanted = float(expected[axis, axis])
        variance = float(final[:, axis].square().mean())
        # The dimer's start adds a constant of a few units.
        assert abs(variance - wanted) <= 4.5 * wanted * math.sqrt(2.0 / n) + (10.0 if make is dimer else 0.0)


def test_correlated_hops_are_slower_than_their_squares_say():
    # Bonds of 1 and 3 taken alike: mean square 5, but the ladder's D is that of its long-run drift.
    d = float(dimer().diffusivity(1.0)[0, 0])
    assert d == pytest.approx(0.5 * 4.0, rel=1e-12)  # (a/2)^2 Gamma / 2 with the cell a = 4
    assert d < 0.5 * 5.0


def test_the_fit_recovers_the_diffusivity_of_carbon_within_its_error():
    process = carbon_in_iron()
    rate = process.rate(800.0)
    times = torch.linspace(0.0, 2000.0 / rate, 21)
    fit = fit_diffusivity(hop(rate=rate, times=times, walkers=2000, seed=3))
    expected = 2.0e-6 * math.exp(-0.86 * CHARGE / (BOLTZMANN * 800.0))
    assert fit.error < 0.01 * expected
    assert abs(fit.value - expected) < 3.5 * fit.error


def test_the_mean_squared_displacement_is_a_straight_line():
    n = 4000
    times = torch.linspace(10.0, 500.0, 8)
    hops = hop(octahedral_bcc(1.0), rate=2.0, times=times, walkers=n, seed=1)
    squared = hops.positions.square().sum(-1)
    expected = 6.0 * times.double() * 2.0 / 24.0
    errors = squared.std(1) / math.sqrt(n)
    assert bool(((squared.mean(1) - expected).abs() < 4.0 * errors).all())


def test_an_arrhenius_fit_recovers_barrier_and_prefactor():
    process = carbon_in_iron()
    temperatures = [500.0, 600.0, 700.0, 800.0, 900.0]
    fits = []
    for seed, temperature in enumerate(temperatures):
        rate = process.rate(temperature)
        fits.append(fit_diffusivity(hop(rate=rate, times=[0.0, 1000.0 / rate], walkers=3000, seed=seed)))
    fit = fit_arrhenius(temperatures, fits)
    assert fit.energy_error < 0.002
    assert abs(fit.energy - 0.86) < 3.5 * fit.energy_error
    assert abs(math.log(fit.d_0 / 2.0e-6)) < 3.5 * fit.relative_error


def test_a_fit_of_exact_values_is_exact():
    kt = [BOLTZMANN / CHARGE * t for t in (400.0, 700.0)]
    values = [3e-7 * math.exp(-0.9 / e) for e in kt]
    fit = fit_arrhenius([400.0, 700.0], [Diffusivity(d, 1e-3 * d) for d in values])
    assert fit.energy == pytest.approx(0.9, rel=1e-12)
    assert fit.d_0 == pytest.approx(3e-7, rel=1e-10)


@pytest.mark.parametrize("name", ["octahedral-bcc", "simple-cubic"])
def test_few_hops_have_the_law_of_every_path(name):
    lattice, n, mean = LATTICES[name][0](1.0), 20_000, 1.5
    hops = hop(lattice, rate=mean, times=[1.0], walkers=n, seed=5)
    counts = torch.bincount(hops.hops.clamp(max=6), minlength=7)
    expected = [*(n * stats.poisson.pmf(range(6), mean)), n * stats.poisson.sf(5, mean)]
    assert stats.chisquare(counts.numpy(), expected).pvalue > 1e-4
    # Characteristic function of the displacement, by the generator on the kinds.
    k = torch.tensor([0.7, -0.4, 1.1], dtype=torch.float64)
    phase = torch.polar(torch.ones(()).double(), (lattice.moves * lattice.unit * k).sum(-1))
    kinds, ways = lattice.next.shape
    matrix = torch.zeros(kinds, kinds, dtype=torch.complex128)
    for kind in range(kinds):
        for way in range(ways):
            matrix[kind, lattice.next[kind, way]] += phase[kind, way] / ways
    exact = torch.linalg.matrix_exp(mean * (matrix - torch.eye(kinds))).sum(1).mean()
    angle = hops.positions[0] @ k
    assert abs(float(angle.cos().mean()) - float(exact.real)) < 4.5 / math.sqrt(n)
    assert abs(float(angle.sin().mean()) - float(exact.imag)) < 4.5 / math.sqrt(n)


def test_the_kind_of_site_alternates_as_the_lattice_says():
    # A simple lattice of parity: the coordinate along x and the kind change together.
    hops = hop(dimer(), rate=1.0, times=[3.0, 40.0, 41.0], walkers=500, seed=2)
    start = torch.arange(500) % 2
    assert torch.equal(hops.kinds[-1], (start + hops.hops) % 2)
    cell = (hops.positions[..., 0] + (hops.kinds - start) * -1.0) / 4.0
    assert torch.equal(cell, cell.round())


@pytest.mark.parametrize("name", ["octahedral-bcc", "simple-cubic"])
def test_a_walker_of_a_seed_is_the_same_whatever_their_number(name):
    lattice = LATTICES[name][0](1.0)
    arguments = {"rate": 1.0, "times": [5.0, 400.0, 410.0], "seed": 8}
    whole = hop(lattice, walkers=60, **arguments)
    part = hop(lattice, walkers=20, first_index=30, **arguments)
    assert torch.equal(whole.positions[:, 30:50], part.positions)
    assert torch.equal(whole.hops[30:50], part.hops)


def test_residence_times_on_a_graph_give_the_diffusivity_of_the_lattice():
    # A ring long enough that no walker gets round: waiting times drawn one by one, D = Gamma a^2 / 2.
    n, rate, t = 401, 1.0, 100.0
    i = torch.arange(n)
    weights = torch.zeros(n, n, dtype=torch.float64)
    weights[i, (i + 1) % n] = weights[i, (i - 1) % n] = rate / 2.0
    paths = hop_on_graph(Graph(weights), torch.full((4000,), n // 2), [t])
    spread = (paths.states[0] - n // 2).double()
    assert abs(float(spread.square().mean()) - rate * t) < 4.5 * rate * t * math.sqrt(2.0 / 4000)
    assert abs(float(paths.events.double().mean()) - rate * t) < 4.5 * math.sqrt(rate * t / 4000)


def test_walkers_on_a_graph_of_traps_end_in_detailed_balance():
    energy = torch.tensor([0.0, 1.0, 0.3, 2.0], dtype=torch.float64)
    rates = torch.exp(0.5 * (energy[:, None] - energy)) * (1.0 - torch.eye(4))
    paths = hop_on_graph(rates, torch.zeros(20_000, dtype=torch.int64), [30.0])
    counts = torch.bincount(paths.states[0], minlength=4)
    assert stats.chisquare(counts.numpy(), 20_000 * torch.softmax(-energy, 0).numpy()).pvalue > 1e-4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hop(rate=0.0, times=[1.0], walkers=1), "rate above 0"),
        (lambda: hop(rate=1e7, times=[1.0], walkers=1), "more times of observation"),
        (lambda: hop(rate=1.0, times=[2.0, 1.0], walkers=1), "do not decrease"),
        (lambda: Arrhenius(1.0, 0.0), "barrier"),
        (lambda: carbon_in_iron().rate(-1.0), "kelvin"),
        (lambda: octahedral_bcc(0.0), "above 0"),
        (lambda: fit_diffusivity(hop(rate=1.0, times=[1.0], walkers=1)), "at least 2 walkers"),
        (lambda: fit_arrhenius([300.0], [Diffusivity(1.0, 0.1)]), "2 or more temperatures"),
    ],
)
def test_misuse_ends_in_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
