"""The diffusion transformer: what it is equivariant to, what reaches its output, and what it refuses."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from unstir.networks import ConditionSettings, Transformer, TransformerSettings, UNetSettings, build_network
from unstir.networks.transformer import Block, from_patches, sinusoids, to_patches

X = torch.linspace(-1, 1, 2 * 2 * 6).reshape(2, 2, 6)
LOG_SNR = torch.tensor([-3.0, 2.0])
CONDITIONS = {
    "observation": ConditionSettings(shape=(4, 2)),
    "picture": ConditionSettings(shape=(3, 9, 10), how="image"),
    "known": ConditionSettings(shape=(2, 6), how="channels"),
}


def opened(module):
    """With weights that are not zero: gates and the last layer begin there."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2, generator=generator)
    return module


def normal(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def build(channels=2, dims=1, **changes):
    return opened(Transformer(channels, dims, **{"width": 16, "layers": 2, "heads": 2, **changes}))


@settings(max_examples=30, deadline=None)
@given(
    cells=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    channels=st.integers(1, 3),
    patch=st.integers(1, 2),
    variance=st.booleans(),
)
def test_the_output_has_the_shape_of_the_event(cells, channels, patch, variance):
    space = [n * patch for n in cells]
    module = Transformer(
        channels, len(space), width=16, layers=1, heads=2, patch=patch, variance=variance
    )  # fmt: skip
    out = module(torch.ones(2, channels, *space), torch.zeros(2))
    assert out.shape == (2, channels * (1 + variance), *space)


@pytest.mark.parametrize("space", [(6,), (4, 6), (2, 4, 6)])
@pytest.mark.parametrize("patch", [1, 2])
def test_cutting_into_patches_and_joining_them_loses_nothing(space, patch):
    x = normal(3, 2, *space)
    tokens = to_patches(x, patch)
    assert tokens.shape == (3, x[0, 0].numel() // patch ** len(space), 2 * patch ** len(space))
    assert torch.equal(from_patches(tokens, space, patch), x)


def test_a_patch_holds_neighbouring_cells_of_all_channels():
    x = torch.arange(2 * 4 * 6).reshape(1, 2, 4, 6)
    first_of_second_row = to_patches(x, 2)[0, 3]
    assert torch.equal(first_of_second_row, x[0, :, 2:4, 0:2].flatten())


def test_the_output_begins_at_zero_and_a_block_as_the_identity():
    assert Transformer(2, width=16, layers=2, heads=2, classes=2, variance=True)(X, LOG_SNR).eq(0).all()
    tokens = normal(2, 5, 16)
    assert torch.equal(Block(16, 2, 8, 0.0)(tokens, normal(2, 8, seed=2)), tokens)


def test_without_positions_the_order_of_the_cells_means_nothing():
    module = build(positions=False).double()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    x = X.double()
    torch.testing.assert_close(module(x[..., order], LOG_SNR), module(x, LOG_SNR)[..., order])


def test_with_positions_it_does():
    module = build()
    assert not torch.allclose(module(X.flip(2), LOG_SNR), module(X, LOG_SNR).flip(2), rtol=1e-2)


def test_places_are_told_apart_and_do_not_depend_on_the_size_of_the_event():
    small, large = sinusoids((8,), 16), sinusoids((32,), 16)
    assert torch.equal(large[:8], small)
    assert float(torch.cdist(large, large).fill_diagonal_(9.0).min()) > 0.5
    grid = sinusoids((3, 4), 18)
    assert grid.shape == (12, 18)
    assert float(torch.cdist(grid, grid).fill_diagonal_(9.0).min()) > 0.5


def test_neighbours_along_an_axis_differ_alike_wherever_they_are():
    """The sinusoids' inner product depends on the distance alone."""
    places = sinusoids((20,), 16).double()
    gram = places @ places.T
    for shift in (1, 3):
        products = gram.diagonal(shift)
        torch.testing.assert_close(products, products[:1].expand_as(products), rtol=1e-6, atol=1e-6)


def test_one_network_takes_events_of_any_length():
    module = build()
    assert module(normal(2, 2, 24), LOG_SNR).shape == (2, 2, 24)


@pytest.mark.parametrize("cell", [0, 5])
def test_every_cell_sees_every_other(cell):
    x = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(build()(x, LOG_SNR)[:, :, cell].square().sum(), x)
    assert bool((gradient.abs().sum(1) > 0).all())


def test_samples_do_not_see_each_other():
    module = build(classes=3).double()
    labels = torch.tensor([0, -1])
    together = module(X.double(), LOG_SNR, labels)
    for k in range(2):
        alone = module(X[k : k + 1].double(), LOG_SNR[k : k + 1], labels[k : k + 1])
        torch.testing.assert_close(alone, together[k : k + 1], rtol=1e-5, atol=1e-5)


def inputs(batch=3):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(batch, *c.shape, generator=generator) for name, c in CONDITIONS.items()}


def test_gradients_reach_every_input():
    module, more = build(vector=2, conditions=CONDITIONS), inputs()
    given = {"x": normal(3, 2, 6), "log_snr": torch.zeros(3), "vector": torch.ones(3, 2), **more}
    for value in given.values():
        value.requires_grad_()
    module(**given).square().sum().backward()
    for name, value in given.items():
        assert bool((value.grad.reshape(3, -1).abs().sum(1) > 0).all()), name


def test_gradients_reach_every_parameter():
    module, more = build(classes=2, vector=2, variance=True, conditions=CONDITIONS), inputs()
    vector = torch.tensor([[1.0, 2.0], [torch.nan, 0.0], [0.5, 0.1]])
    more["observation"][0, 0, 0] = torch.nan
    more["picture"][1, 0, 0, 0] = torch.nan
    out = module(normal(3, 2, 6), torch.zeros(3), torch.tensor([0, 1, -1]), vector, **more)
    out.square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


@pytest.mark.parametrize("name", list(CONDITIONS))
def test_not_a_number_is_the_same_as_nothing(name):
    module, more, x = build(conditions=CONDITIONS), inputs(2), X
    blank = {**more, name: torch.full_like(more[name], torch.nan)}
    absent = {key: value for key, value in more.items() if key != name}
    with torch.no_grad():
        a, b, c = (module(x, LOG_SNR, **given) for given in (blank, absent, more))
    assert torch.equal(a, b)
    assert not torch.allclose(a, c, rtol=1e-3)


def test_label_minus_one_is_no_label_and_labels_differ():
    module = build(classes=2)
    out = module(X, LOG_SNR)
    assert torch.equal(module(X, LOG_SNR, torch.tensor([-1, -1])), out)
    assert not torch.allclose(module(X, LOG_SNR, torch.tensor([0, 1])), out, rtol=1e-3)


def test_training_opens_every_parameter():
    module = build_network(TransformerSettings(width=16, layers=2, heads=2), (2, 6), classes=2, seed=0)
    before = [parameter.clone() for parameter in module.parameters()]
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    for _ in range(
        5
    ):  # the last layer opens first, then its modulation, then the gates and what they shut off
        optimizer.zero_grad()
        (module(X, LOG_SNR, torch.tensor([0, -1])) - X).square().mean().backward()
        optimizer.step()
    names = [n for (n, p), old in zip(module.named_parameters(), before, strict=True) if torch.equal(p, old)]
    assert names == []


def test_settings_build_it_for_an_event_and_its_conditions():
    settings = TransformerSettings(width=16, layers=1, heads=2, variance=True)
    module = build_network(settings, (2, 6), classes=2, conditions=CONDITIONS)
    assert isinstance(module, Transformer)
    assert set(module.conditions) == set(CONDITIONS)
    assert module.variance
    assert module(X, LOG_SNR, torch.tensor([0, 1]), **inputs(2)).shape == (2, 4, 6)


def test_it_costs_its_parameters_whatever_the_size_of_the_event():
    settings = TransformerSettings(width=16, layers=1, heads=2)
    count = [sum(p.numel() for p in build_network(settings, (2, n)).parameters()) for n in (8, 64)]
    assert count[0] == count[1]


@pytest.mark.parametrize(
    ("changes", "event", "message"),
    [
        ({}, (5,), r"events \(channels, \*space\).*use the network kind 'mlp'"),
        ({"patch": 4}, (1, 8, 6), "an axis of 6 cells cannot be cut into patches of 4"),
        ({"heads": 3}, (1, 8), "a width of 16 cannot be split into 3 attention heads"),
        ({"width": 4, "heads": 1}, (1, 2, 2, 2), "a width of at least 6"),
    ],
)
def test_what_cannot_be_built_is_refused(changes, event, message):
    with pytest.raises(ValueError, match=message):
        build_network(TransformerSettings(**{"width": 16, "layers": 1, "heads": 2, **changes}), event)


def test_events_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="1 axes of space"):
        build()(torch.zeros(2, 2, 4, 4), LOG_SNR)
    with pytest.raises(ValueError, match="an axis of 7 cells cannot be cut into patches of 2"):
        build(patch=2)(torch.zeros(2, 2, 7), LOG_SNR)


def test_the_kind_is_one_of_the_networks_of_a_recipe():
    from pydantic import TypeAdapter

    from unstir.networks import NetworkSettings

    adapter = TypeAdapter(NetworkSettings)
    assert adapter.validate_python({"kind": "transformer", "width": 32}).width == 32
    assert adapter.validate_python({"kind": "unet"}) == UNetSettings()
