import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from unstir.networks import MLP, ConditionEmbedding, NoiseEmbedding


def build(**changes):
    torch.manual_seed(0)
    module = MLP(**{"features": 3, "width": 16, "layers": 2, **changes})
    for parameter in module.parameters():  # the outputs begin at zero
        nn.init.normal_(parameter, std=0.3)
    return module


X = torch.linspace(-1, 1, 12).reshape(4, 3)
LOG_SNR = torch.tensor([-3.0, 0.0, 2.0, 10.0])


@settings(max_examples=30)
@given(features=st.integers(1, 9), batch=st.integers(1, 4), variance=st.booleans(), layers=st.integers(0, 2))
def test_the_output_has_the_shape_of_the_event(features, batch, variance, layers):
    module = build(features=features, variance=variance, layers=layers)
    out = module(torch.ones(batch, features), torch.zeros(batch))
    assert out.shape == (batch, features * (1 + variance))


def test_the_output_begins_at_zero():
    assert MLP(3, width=16, classes=2, vector=2, variance=True)(X, LOG_SNR).eq(0).all()


def test_every_parameter_gets_a_gradient():
    module = build(classes=3, vector=2, variance=True)
    vector = torch.tensor([[1.0, 2.0], [float("nan"), 0.0], [0.5, 0.1], [0.0, 1.0]])
    module(X, LOG_SNR, torch.tensor([0, 1, 2, -1]), vector).square().sum().backward()
    for name, parameter in module.named_parameters():
        assert float(parameter.grad.abs().max()) > 0, name
        assert torch.isfinite(parameter.grad).all(), name
    assert (module.condition.labels.weight.grad.abs().sum(1) > 0).all()


def test_training_reaches_every_parameter():
    torch.manual_seed(0)
    module = MLP(3, width=16, layers=2, classes=2)
    before = [parameter.clone() for parameter in module.parameters()]
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(3):  # the zero layers open one after the other
        optimizer.zero_grad()
        loss = (module(X, LOG_SNR, torch.tensor([0, 1, -1, 0])) - X).square().mean()
        loss.backward()
        optimizer.step()
    for (name, parameter), old in zip(module.named_parameters(), before, strict=True):
        assert not torch.equal(parameter, old), name


def test_the_noise_level_the_label_and_the_vector_change_the_output():
    module = build(classes=3, vector=2)
    out = module(X, LOG_SNR)
    assert not torch.allclose(out, module(X, LOG_SNR + 1.0))
    labelled = [module(X, LOG_SNR, torch.full((4,), label)) for label in range(3)]
    assert not torch.allclose(labelled[0], labelled[1])
    assert not torch.allclose(labelled[0], out)
    assert not torch.allclose(module(X, LOG_SNR, vector=torch.zeros(4, 2)), out)


def test_label_minus_one_and_a_vector_of_nan_are_no_condition():
    module = build(classes=3, vector=2)
    out = module(X, LOG_SNR)
    assert torch.equal(module(X, LOG_SNR, label=torch.full((4,), -1)), out)
    assert torch.equal(module(X, LOG_SNR, vector=torch.full((4, 2), float("nan"))), out)
    one = torch.tensor([[float("nan"), 1.0]]).expand(4, 2)
    assert torch.equal(module(X, LOG_SNR, vector=one), out)


def test_samples_do_not_see_each_other():
    module = build(classes=3)
    labels = torch.tensor([0, 1, -1, 2])
    together = module(X, LOG_SNR, labels)
    for k in range(4):
        one = module(X[k : k + 1], LOG_SNR[k : k + 1], labels[k : k + 1])
        torch.testing.assert_close(one, together[k : k + 1], rtol=1e-5, atol=1e-5)


def test_dropout_acts_in_training_only():
    module = build(dropout=0.5)
    assert not torch.equal(module(X, LOG_SNR), module(X, LOG_SNR))
    module.eval()
    assert torch.equal(module(X, LOG_SNR), module(X, LOG_SNR))


def test_noise_levels_have_different_embeddings_of_unit_scale():
    torch.manual_seed(0)
    embedding = NoiseEmbedding(16)
    embedding.layers = nn.Identity()
    levels = torch.linspace(-20, 20, 401)
    waves = embedding(levels)
    torch.testing.assert_close(waves.square().mean(1), torch.ones(401))
    distances = torch.cdist(waves, waves) + 10 * torch.eye(401)
    assert float(distances.min()) > 0.05
    assert not list(embedding.state_dict())  # the frequencies are no weights


def test_a_network_without_conditions_adds_nothing():
    assert ConditionEmbedding(8)(4, None, None) == 0.0


def test_a_label_out_of_range_is_refused():
    with pytest.raises(IndexError):
        build(classes=3)(X, LOG_SNR, torch.full((4,), 3))
