import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from unstir.networks import UNet

X = torch.linspace(-1, 1, 2 * 2 * 5 * 7).reshape(2, 2, 5, 7)
LOG_SNR = torch.tensor([-3.0, 2.0])


def build(**changes):
    torch.manual_seed(0)
    settings = {"channels": 2, "width": 8, "multipliers": (1, 2), "heads": 2, **changes}
    module = UNet(**settings)
    for parameter in module.parameters():  # several layers begin at zero
        nn.init.normal_(parameter, std=0.2)
    return module


@settings(max_examples=40)
@given(
    data=st.data(),
    dims=st.integers(1, 3),
    channels=st.integers(1, 3),
    batch=st.integers(1, 2),
    width=st.sampled_from([2, 6, 8]),
    multipliers=st.sampled_from([(1,), (1, 2), (2, 1, 3)]),
    blocks=st.integers(1, 2),
    attend=st.booleans(),
    variance=st.booleans(),
)
def test_the_output_has_the_shape_of_the_event(
    data, dims, channels, batch, width, multipliers, blocks, attend, variance
):
    size = tuple(data.draw(st.integers(1, 9 if dims < 3 else 5)) for _ in range(dims))
    module = UNet(
        channels, dims, width=width, multipliers=multipliers, blocks=blocks, heads=1, variance=variance,
        attention=(len(multipliers) - 1,) if attend else (),
    )  # fmt: skip
    out = module(torch.ones(batch, channels, *size), torch.zeros(batch))
    assert out.shape == (batch, channels * (1 + variance), *size)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_an_event_of_one_cell_still_reaches_the_output(dims):
    module = build(dims=dims, width=32)
    x = torch.ones(1, 2, *[1] * dims)
    assert not torch.allclose(module(x, LOG_SNR[:1]), module(-2.0 * x, LOG_SNR[:1]))


def test_the_output_begins_at_zero():
    assert UNet(2, width=8, classes=2, variance=True)(X, LOG_SNR).eq(0).all()


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_every_parameter_gets_a_gradient(dims):
    module = build(dims=dims, classes=2, vector=2, variance=True, attention=(0, 1), blocks=2, width=16)
    x = torch.randn(3, 2, *[4, 3, 2][:dims], generator=torch.Generator().manual_seed(0))
    vector = torch.tensor([[1.0, 2.0], [float("nan"), 0.0], [0.5, 0.1]])
    module(x, torch.tensor([-1.0, 0.0, 3.0]), torch.tensor([0, 1, -1]), vector).square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_rows_are_told_apart_if_that_is_asked(dims):
    """The answer to a pattern that moves by four rows moves with it, unless rows have places."""
    size = (48, 3, 2)[:dims]
    x = torch.zeros(1, 2, *size)
    x[:, :, 20:23] = 1.0
    for rows in (0, 48):
        module = build(dims=dims, classes=2, rows=rows, width=8, multipliers=(1,), middle=1)
        with torch.no_grad():
            here = module(x, LOG_SNR[:1], torch.tensor([0]))
            there = module(x.roll(4, 2), LOG_SNR[:1], torch.tensor([0]))
        inside = slice(16, 27)
        alike = torch.allclose(here[:, :, inside], there.roll(-4, 2)[:, :, inside], atol=1e-4)
        assert alike == (rows == 0)


def test_rows_are_biased_by_class_and_begin_with_no_bias():
    torch.manual_seed(0)
    module = UNet(2, width=8, multipliers=(1,), classes=2, rows=5)
    assert module.places.weight.eq(0).all()
    assert module.places.bias.eq(0).all()
    module = build(multipliers=(1,), classes=2, rows=5)
    found = module(X[:1].expand(2, -1, -1, -1), LOG_SNR[:1].expand(2), torch.tensor([0, 1]))
    assert not torch.allclose(found[0], found[1])
    module(X, LOG_SNR, torch.tensor([0, 1])).square().sum().backward()
    assert all(p.grad is not None and p.grad.ne(0).any() for p in module.parameters())
    with pytest.raises(ValueError, match="knows 5 rows, each by its place, got 7"):
        module(X.transpose(2, 3), LOG_SNR)


def test_training_reaches_every_parameter():
    torch.manual_seed(0)
    module = UNet(2, width=16, multipliers=(1, 2), attention=(1,), classes=2)
    before = [parameter.clone() for parameter in module.parameters()]
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    for _ in range(4):  # the zero layers open one after the other
        optimizer.zero_grad()
        (module(X, LOG_SNR, torch.tensor([0, -1])) - X).square().mean().backward()
        optimizer.step()
    frozen = [n for (n, p), old in zip(module.named_parameters(), before, strict=True) if torch.equal(p, old)]
    assert frozen == []


@pytest.mark.parametrize("attention", [(), (0,), (1,)])
def test_the_noise_level_the_label_and_the_vector_change_the_output(attention):
    module = build(classes=3, vector=2, attention=attention)
    out = module(X, LOG_SNR)
    assert not torch.allclose(out, module(X, LOG_SNR + 1.0), rtol=1e-3)
    labelled = [module(X, LOG_SNR, torch.full((2,), label)) for label in range(3)]
    assert not torch.allclose(labelled[0], labelled[1], rtol=1e-3)
    assert not torch.allclose(labelled[0], out, rtol=1e-3)
    assert not torch.allclose(module(X, LOG_SNR, vector=torch.ones(2, 2)), out, rtol=1e-3)


def test_label_minus_one_and_a_vector_of_nan_are_no_condition():
    module = build(classes=3, vector=2)
    out = module(X, LOG_SNR)
    assert torch.equal(module(X, LOG_SNR, label=torch.full((2,), -1)), out)
    assert torch.equal(module(X, LOG_SNR, vector=torch.full((2, 2), float("nan"))), out)


def test_samples_do_not_see_each_other():
    module = build(classes=3, attention=(1,)).double()
    labels = torch.tensor([0, -1])
    together = module(X.double(), LOG_SNR, labels)
    for k in range(2):
        one = module(X[k : k + 1].double(), LOG_SNR[k : k + 1], labels[k : k + 1])
        torch.testing.assert_close(one, together[k : k + 1], rtol=1e-5, atol=1e-5)


def test_attention_lets_every_cell_see_every_other():
    attention = build(dims=1, multipliers=(1,), attention=(0,)).middle.attention[0]
    x = torch.randn(1, 8, 12, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for target in (0, 7):
        (gradient,) = torch.autograd.grad(attention(x)[0, :, target].square().sum(), x)
        assert (gradient[0].abs().sum(0) > 0).all()


def test_attention_treats_all_positions_alike():
    attention = build(multipliers=(1,), attention=(0,)).middle.attention[0].double()
    x = torch.randn(2, 8, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(attention(x.flip(3).mT), attention(x).flip(3).mT, rtol=1e-12, atol=1e-12)


def test_the_memory_layout_of_the_input_does_not_matter():
    module = build().eval()
    torch.testing.assert_close(module(X.to(memory_format=torch.channels_last), LOG_SNR), module(X, LOG_SNR))


def test_dropout_acts_in_training_only():
    module = build(dropout=0.5)
    assert not torch.equal(module(X, LOG_SNR), module(X, LOG_SNR))
    module.eval()
    assert torch.equal(module(X, LOG_SNR), module(X, LOG_SNR))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dims": 4}, "1, 2 or 3 spatial axes, got 4"),
        ({"dims": 0}, "1, 2 or 3 spatial axes, got 0"),
        ({"attention": (2,)}, "at level 2, but there are levels 0 to 1 only"),
        ({"attention": (-1,)}, "at level -1"),
        ({"attention": (1,), "heads": 3}, "16 channels cannot be split into 3 attention heads"),
    ],
)
def test_an_architecture_that_cannot_be_built_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        build(**changes)
