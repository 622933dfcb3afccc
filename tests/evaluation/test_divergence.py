"""The trace of a Jacobian: exact, and by random vectors without bias and with honest standard errors."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import close
from unstir.denoisers import Denoiser, Network, Posterior
from unstir.evaluation import DIVERGENCES, Exact, Hutchinson, HutchPlusPlus
from unstir.evaluation.divergence import find_divergence, linearise
from unstir.networks import UNet
from unstir.processes import VP


def matrix(d: int, seed: int = 0, rank: int | None = None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    left, right = torch.randn(2, d, rank or d, generator=generator, dtype=torch.float64)
    return left @ right.T if rank else left


def estimates(way, jacobian: torch.Tensor, batch: int = 1, seed: int = 0) -> torch.Tensor:
    trace = way.trace(len(jacobian), seed=seed, index=torch.arange(batch))
    return trace(lambda v: v @ jacobian)


class Linear(Denoiser):
    """E[x_0 | x_t] = A x_t, squared entry by entry if asked."""

    def __init__(self, a: torch.Tensor, power: int = 1) -> None:
        super().__init__()
        self.a, self.power, self.schedule = a, power, VP()

    def forward(self, x_t, t, **condition):
        return Posterior((x_t.flatten(1) @ self.a.to(x_t).T).reshape(x_t.shape) ** self.power)


@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_the_exact_trace_is_that_of_any_matrix_whatever_the_chunk(d, chunk, seed):
    a = matrix(d, seed)
    found = estimates(Exact(chunk), a, batch=3)
    close(found, a.trace().expand(3, 1), atol=1e-12)


def test_hutchinson_is_exact_for_a_diagonal_jacobian():
    a = torch.diag(torch.arange(1.0, 8.0, dtype=torch.float64))
    close(estimates(Hutchinson(1), a, batch=20), torch.full((20, 1), 28.0), atol=1e-12)


# A sketch of 5 signs a coordinate misses a direction only if two of its columns are equal twice.
@given(st.integers(1, 3), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_hutch_plus_plus_is_exact_for_a_jacobian_of_low_rank(rank, seed):
    a = matrix(12, seed, rank)
    found = estimates(HutchPlusPlus(probes=3, rank=5), a, batch=4, seed=seed)
    close(found, a.trace().expand(4, 3), atol=1e-9)


@pytest.mark.parametrize("rank", [1, 4, 7, 30])
def test_hutch_plus_plus_is_exact_for_a_multiple_of_the_identity(rank):
    a = 0.7 * torch.eye(7, dtype=torch.float64)
    close(
        estimates(HutchPlusPlus(2, rank), a, batch=5),
        torch.full((5, 2), 4.9, dtype=torch.float64),
        atol=1e-12,
    )


@pytest.mark.parametrize("way", [Hutchinson(16), HutchPlusPlus(16, 2)], ids=["hutchinson", "hutch++"])
def test_random_traces_have_no_bias_and_their_standard_errors_are_right(way):
    a = matrix(6, 3)
    found = estimates(way, a, batch=4000, seed=1)
    mean, error = found.mean(1), found.std(1) / 4
    assert abs(float(mean.mean() - a.trace())) < 4 * float(mean.std()) / 4000**0.5
    # Of 16 estimates the deviation in standard errors is Student's t with 15 degrees: variance 15 / 13.
    # The sketch is shared by a sample's estimates, which are independent and unbiased given it.
    assert float(((mean - a.trace()) / error).var()) == pytest.approx(15 / 13, rel=0.12)


def test_hutch_plus_plus_beats_hutchinson_at_equal_cost_where_the_spectrum_decays():
    basis = torch.linalg.qr(matrix(40, 5)).Q
    a = basis @ torch.diag(2.0 ** -torch.arange(40.0, dtype=torch.float64)) @ basis.T
    plain, better = Hutchinson(24), HutchPlusPlus(8, 8)
    errors = [(estimates(way, a, batch=300).mean(1) - a.trace()).std() for way in (plain, better)]
    assert float(errors[1]) < 0.05 * float(errors[0])


@pytest.mark.parametrize("way", [Hutchinson(3), HutchPlusPlus(3, 2)], ids=["hutchinson", "hutch++"])
def test_a_sample_has_its_own_probes_whatever_the_batch_and_a_seed_decides_them(way):
    a = matrix(30)
    whole = estimates(way, a, batch=5)
    alone = way.trace(30, seed=0, index=torch.tensor([3]))(lambda v: v @ a)
    close(alone[0], whole[3], atol=1e-11)
    assert len(whole.unique()) == 15
    assert not torch.equal(estimates(way, a, batch=5, seed=1), whole)


def unet() -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = UNet(2, 1, width=4, multipliers=(1, 2), attention=(1,), heads=2)
        torch.nn.init.normal_(module.leave.weight, std=0.3)
    return Network(module, VP()).double()


@pytest.mark.parametrize("denoiser", [Linear(matrix(6, 2), power=2), unet()], ids=["square", "unet"])
def test_the_products_are_those_of_each_samples_own_jacobian(denoiser):
    x = torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.full((3,), 0.3, dtype=torch.float64)
    mean, product = linearise(denoiser, x, t, {})
    full = torch.autograd.functional.jacobian(lambda x: denoiser(x, t).mean, x)
    own = torch.stack([full[i, :, :, i].reshape(6, 6) for i in range(3)])
    v = torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    close(product(v), torch.einsum("bij,kbi->kbj", own, v), atol=1e-10)
    assert not mean.requires_grad


class Twice(torch.autograd.Function):
    """A function whose backward looks at a value, which no vmap can do."""

    @staticmethod
    def forward(ctx, x):
        return 2.0 * x

    @staticmethod
    def backward(ctx, gradient):
        assert float(gradient.sum()) < 1e9
        return 2.0 * gradient


def test_products_go_one_by_one_through_operations_that_do_not_take_many_at_once():
    class Denoise(Linear):
        def forward(self, x_t, t, **condition):
            return Posterior(Twice.apply(super().forward(x_t, t).mean))

    a = matrix(4)
    _, product = linearise(Denoise(a), torch.ones(2, 4, dtype=torch.float64), torch.ones(2), {})
    found = Exact().trace(4, seed=0, index=torch.arange(2))(product)
    close(found, 2 * a.trace().expand(2, 1), atol=1e-12)


def test_what_cannot_be_done_is_said_in_a_sentence():
    with pytest.raises(ValueError, match="unknown divergence 'hutchison'; did you mean 'hutchinson'"):
        find_divergence("hutchison", 2)
    for build in (Hutchinson, HutchPlusPlus, lambda n: HutchPlusPlus(2, n), lambda n: Exact(n)):
        with pytest.raises(ValueError, match="at least 1, got 0"):
            build(0)
    for name in DIVERGENCES:
        with pytest.raises(ValueError, match="the number of probes is at least 1, got 0"):
            find_divergence(name, 0)
