import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.guidance.test_measurements import random
from tests.helpers import close
from unstir.generators import diffusion
from unstir.guidance.measurements import flow, heat
from unstir.spaces import Axis, Grid

KINDS = st.sampled_from(["reflect", "periodic", "absorb"])


def grid(sizes, kinds, cell):
    axes = [Axis(0.0, n * cell, n, boundary=kind) for n, kind in zip(sizes, kinds, strict=True)]
    return Grid(*axes)


@given(
    sizes=st.lists(st.sampled_from([1, 2, 3, 5, 8, 100]), min_size=1, max_size=2),
    data=st.data(),
    time=st.floats(0.0, 20.0),
    D=st.floats(1e-6, 3.0),
    cell=st.floats(0.2, 2.0),
)
@settings(max_examples=60)
def test_heat_equals_the_exponential_of_the_generator(sizes, data, time, D, cell):
    kinds = [data.draw(KINDS) for _ in sizes]
    x = random(2, 3, *sizes)
    expected = diffusion(grid(sizes, kinds, cell), D).exp(time, x)
    close(heat((3, *sizes), time, D=D, boundary=kinds, cell=cell)(x), expected, atol=1e-10)


@pytest.mark.parametrize("kind", ["reflect", "periodic", "absorb"])
def test_the_spectral_scheme_is_that_of_the_generator(kind):
    x = random(2, 3, 9, 8)
    expected = diffusion(grid((9, 8), (kind, kind), 1.0), 0.7, scheme="spectral").exp(1.3, x)
    operator = heat((3, 9, 8), 1.3, D=0.7, boundary=kind, scheme="spectral")
    close(operator(x), expected, atol=1e-12)
    assert float((operator(x) - heat((3, 9, 8), 1.3, D=0.7, boundary=kind)(x)).abs().max()) > 1e-3


@given(kinds=st.tuples(KINDS, KINDS), s=st.floats(0.0, 3.0), t=st.floats(0.0, 3.0))
@settings(max_examples=40)
def test_two_flows_one_after_the_other_are_one_longer_flow(kinds, s, t):
    x, event = random(2, 2, 6, 5), (2, 6, 5)
    first, second, both = (heat(event, time, boundary=kinds) for time in (s, t, s + t))
    close(second(first(x)), both(x), atol=1e-13)


@given(kinds=st.tuples(KINDS, KINDS), time=st.floats(0.0, 5.0), seed=st.integers(0, 1000))
@settings(max_examples=40)
def test_heat_contracts_keeps_its_mass_behind_walls_and_stays_positive(kinds, time, seed):
    operator, x = heat((1, 6, 5), time, boundary=kinds), random(3, 1, 6, 5, seed=seed)
    y = operator(x)
    assert bool((y.flatten(1).norm(dim=1) <= x.flatten(1).norm(dim=1) * (1 + 1e-14)).all())
    assert float(operator.singular.values.max()) <= 1.0
    assert float(operator(x.abs()).min()) > -1e-14
    lost = x.abs().sum((1, 2, 3)) - operator(x.abs()).sum((1, 2, 3))
    if "absorb" in kinds:
        assert time < 1e-9 or bool((lost > 0).all())
    else:
        close(lost, torch.zeros(3), atol=1e-12)
        close(operator.singular.values.max(), 1.0, atol=0.0)


def test_no_time_changes_nothing_and_a_long_one_leaves_the_mean():
    x = random(2, 3, 6, 5)
    close(heat((3, 6, 5), 0.0)(x), x, atol=1e-14)
    close(heat((3, 6, 5), 1e4)(x), x.mean((2, 3), keepdim=True).expand_as(x), atol=1e-13)
    close(heat((3, 6, 5), 2.0, D=0.0)(x), x, atol=1e-14)


def test_rows_are_channels_unless_they_are_cells():
    x = torch.zeros(1, 2, 4, dtype=torch.float64)
    x[0, 0, 1] = 1.0
    assert float(heat((2, 4), 1.0)(x)[0, 1].abs().max()) == 0.0
    assert float(heat((2, 4), 1.0, channels=False)(x)[0, 1].min()) > 0.0


def test_a_masked_grid_and_a_drift_flow_as_their_generator():
    keep = random(1, 6, 5)[0] > -0.8
    masked = diffusion(Grid(Axis(0, 6, 6), Axis(0, 5, 5), mask=keep))
    drifting = diffusion(Grid(Axis(0, 6, 6, boundary="periodic"), Axis(0, 5, 5)), 0.5, drift=(0.8, -0.3))
    for generator in (masked, drifting):
        x = random(2, 3, 6, 5)
        operator = flow(generator, 0.9, (3, 6, 5))
        close(operator(x), generator.exp(0.9, x), atol=1e-12)
        assert operator.diagonal
    volume = drifting.volumes
    close((flow(drifting, 0.9)(x[:, 0]) * volume).sum((1, 2)), (x[:, 0] * volume).sum((1, 2)), atol=1e-10)


def test_the_adjoint_on_cells_of_unequal_volume_is_not_the_flow_itself():
    # Volumes differ, so the flow of densities and its adjoint in plain sums over cells are not the same.
    generator = diffusion(Grid(Axis(0.0, 4.0, 6, metric="spherical")))
    operator, y = flow(generator, 0.5), random(2, 6)
    close(operator.adjoint(y), y @ operator.matrix, atol=1e-12)
    assert float((operator.adjoint(y) - operator(y)).abs().max()) > 0.1
    close(operator.adjoint(generator.volumes[None]), generator.volumes[None], rtol=1e-13)  # mass is kept


def test_a_large_flow_has_no_decomposition_but_acts():
    generator = diffusion(Grid(Axis(0, 40, 40), Axis(0, 40, 40)))
    operator, x = flow(generator, 1.0), random(1, 40, 40)
    assert not operator.diagonal
    close(operator(x)[:, None], heat((1, 40, 40), 1.0)(x[:, None]), atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: heat((4,), -1.0), "finite time of at least 0"),
        (lambda: heat((4,), math.nan), "finite time of at least 0"),
        (lambda: heat((4,), 1.0, D=-1.0), "diffusivity of at least 0"),
        (lambda: heat((4,), 1.0, cell=0.0), "width above 0"),
        (lambda: heat((4,), 1.0, boundary="open"), "'reflect', 'periodic' or 'absorb'"),
        (lambda: heat((2, 4), 1.0, boundary=("reflect", "reflect")), "each of 1 axes"),
        (lambda: heat((4,), 1.0, scheme="exact"), "a scheme is"),
        (lambda: heat((), 1.0), "at least 1 axes"),
        (lambda: flow(diffusion(Grid(Axis(0, 4, 4))), -1.0), "finite time"),
        (lambda: flow(diffusion(Grid(Axis(0, 4, 4))), 1.0, (3, 5)), "end in the generator's shape"),
    ],
)
def test_bad_settings_are_one_clear_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_flow_with_a_source_is_refused():
    from unstir.spaces import Value

    with pytest.raises(ValueError, match="no linear measurement"):
        flow(diffusion(Grid(Axis(0, 4, 4, boundary=Value(1.0)))), 1.0)
