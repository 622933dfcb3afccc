"""The coefficients of exponential integrators against quadrature in 40 digits and against exact flows."""

import math

import mpmath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import close
from unstir.samplers.exponential import COORDINATES, PREDICTIONS, exponential_weights

C = 0.7


def h(name, ell, q):
    r = mpmath.exp(-ell)
    return {"x0": r**q, "epsilon": mpmath.mpf(1), "v": (C**2 + r**2) ** (q / 2)}[name]


def g(name, ell, q):
    r = mpmath.exp(-ell)
    return {"x0": q, "epsilon": -q * r, "v": -q * C * r / mpmath.sqrt(C**2 + r**2)}[name]


def u(name, ell):
    r = mpmath.exp(-ell)
    return {
        "angle": -mpmath.atan(r / C),
        "correlation": C / mpmath.sqrt(C**2 + r**2) - 1,
        "log-snr": ell,
        "noise-ratio": -r,
    }[name]


@pytest.mark.parametrize("coordinate", COORDINATES)
@pytest.mark.parametrize("prediction", PREDICTIONS)
@given(
    start=st.floats(-5.0, 3.0),
    step=st.floats(0.02, 4.0),
    gaps=st.lists(st.floats(0.1, 2.0), max_size=3),
    eta=st.sampled_from([0.0, 0.5, 1.0]),
    ahead=st.booleans(),
)
@settings(max_examples=12)
def test_weights_integrate_polynomials_in_the_coordinate_exactly(
    prediction, coordinate, start, step, gaps, eta, ahead
):
    end, q, nodes = start + step, 1 + eta**2, [start]
    for gap in gaps:
        nodes.append(nodes[-1] - gap * step)
    nodes = ([end, *nodes] if ahead else nodes)[:4]
    keep, *weights = exponential_weights(
        PREDICTIONS[prediction], COORDINATES[coordinate], C, eta, start, end, tuple(nodes)
    )
    with mpmath.workdps(40):
        h_end = h(prediction, end, q)
        assert float(h_end / h(prediction, start, q)) == pytest.approx(keep, rel=1e-13)
        values = [u(coordinate, node) for node in nodes]
        for k in range(len(nodes)):

            def integrand(ell, k=k):
                return h_end / h(prediction, ell, q) * g(prediction, ell, q) * u(coordinate, ell) ** k

            exact = mpmath.quad(integrand, mpmath.linspace(start, end, 4))
            terms = [w * value**k for w, value in zip(weights, values, strict=True)]
            # Nodes far outside the step make larger weights; their rounding is relative to their size.
            spread = max(abs(a - b) for a in values for b in values) if len(values) > 1 else 1
            near = min((abs(a - b) for a in values for b in values if a != b), default=1)
            size = sum(abs(term) for term in terms) + abs(exact)
            assert abs(sum(terms) - exact) <= 1e-12 * size * (1 + (spread / near) ** 2)


@pytest.mark.parametrize(("prediction", "m"), [("x0", 0.3), ("v", 0.0)])
@given(
    start=st.floats(-6.0, 2.0),
    step=st.one_of(st.floats(0.05, 6.0), st.just(math.inf)),
    gap=st.floats(0.2, 3.0),
    ahead=st.booleans(),
)
@settings(max_examples=40)
def test_two_predictions_integrate_gaussian_data_exactly_in_the_correlation(
    prediction, m, start, step, gap, ahead
):
    # y - m = k sqrt(c^2 + r^2) along the flow, and E[x_0 | x_t] - m = c^2 / (c^2 + r^2) of it.
    k, end = 1.7, start + step
    nodes = (end, start) if ahead and math.isfinite(end) else (start, start - gap)

    def state(ell):
        r = math.exp(-ell)
        y = m + k * math.hypot(C, r)
        mean = m + (y - m) * C**2 / (C**2 + r**2)
        alpha, sigma = 1 / math.hypot(1, r), r / math.hypot(1, r)
        if r == 0:
            return y, mean
        from_x, from_mean = PREDICTIONS[prediction].mixture(alpha, sigma, C)
        return y, from_x * alpha * y + from_mean * mean

    keep, *weights = exponential_weights(
        PREDICTIONS[prediction], COORDINATES["correlation"], C, 0.0, start, end, nodes
    )
    result = keep * state(start)[0] + sum(w * state(n)[1] for w, n in zip(weights, nodes, strict=True))
    close(result, state(end)[0], rtol=1e-11)


def test_an_infinite_step_forgets_its_start():
    assert exponential_weights(
        PREDICTIONS["x0"], COORDINATES["log-snr"], 1.0, 0.0, 0.0, math.inf, (0.0,)
    ) == (
        0.0,
        1.0,
    )


@pytest.mark.parametrize("prediction", ["x0", "v"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_a_step_from_pure_noise_is_the_limit_of_steps_from_much_noise(prediction, eta):
    def weights(start):
        return exponential_weights(
            PREDICTIONS[prediction], COORDINATES["correlation"], 0.8, eta, start, 1.0, (1.0, start)
        )[1:]

    close(weights(-math.inf), weights(-30.0), rtol=1e-9)


@given(ell=st.floats(-8.0, 8.0), step=st.floats(0.01, 3.0), eta=st.floats(0.05, 1.0))
def test_the_clock_gives_the_variance_of_the_noise(ell, step, eta):
    # H_s^2 times the integral of 2 eta^2 r^2 / H^2.
    q = 1 + eta**2
    for name, prediction in PREDICTIONS.items():
        first, second = (prediction.clock(v, eta, C) for v in (ell, ell + step))
        exact = mpmath.quad(
            lambda v, n=name: 2 * eta**2 * mpmath.exp(-2 * v) / h(n, v, q) ** 2, [ell, ell + step]
        )
        assert abs(second - first) == pytest.approx(float(exact), rel=1e-6, abs=1e-14)
