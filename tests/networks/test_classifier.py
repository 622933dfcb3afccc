import pytest
import torch

from unstir.networks import NoisyClassifier

EVENTS = [(3,), (1, 17), (1, 8, 8), (3, 5, 9), (2, 4, 6, 5), (1, 40), (1, 70, 6)]


def network(event, classes=4, seed=0):
    torch.manual_seed(seed)
    module = NoisyClassifier(event, classes, width=8).double()
    for parameter in module.parameters():  # the layers that start at zero, too
        torch.nn.init.normal_(parameter, std=0.2)
    return module


@pytest.mark.parametrize("event", EVENTS, ids=str)
def test_events_of_every_shape_give_logits_and_gradients_that_reach_every_number(event):
    module, x = network(event), torch.randn(3, *event, dtype=torch.float64, requires_grad=True)
    logits = module(x, torch.tensor([-3.0, 0.0, 5.0], dtype=torch.float64))
    assert logits.shape == (3, 4)
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), x)
    assert bool((gradient != 0).all())
    logits = module(x, torch.zeros(3, dtype=torch.float64))
    missing = [name for name, p in module.named_parameters() if not p.requires_grad]
    gradients = torch.autograd.grad(logits[:, 1].sum(), list(module.parameters()), allow_unused=True)
    assert missing == []
    assert all(g is not None and bool((g != 0).any()) for g in gradients)


@pytest.mark.parametrize("event", [(3,), (1, 8, 8), (2, 4, 6, 5)], ids=str)
def test_a_sample_does_not_depend_on_its_batch(event):
    module, x = network(event), torch.randn(5, *event, dtype=torch.float64)
    levels = torch.linspace(-8.0, 8.0, 5, dtype=torch.float64)
    together = module(x, levels)
    for k in range(5):
        torch.testing.assert_close(module(x[k : k + 1], levels[k : k + 1]), together[k : k + 1])
    assert torch.equal(module.eval()(x, levels), module.train()(x, levels))


@pytest.mark.parametrize("event", [(3,), (1, 8, 8)], ids=str)
def test_the_gradient_is_smooth(event):
    # Of a function with kinks, differences of the gradient do not follow the second derivative.
    module, x = network(event), torch.randn(1, *event, dtype=torch.float64)
    direction, level = torch.randn_like(x), torch.zeros(1, dtype=torch.float64)

    def slope(h):
        at = (x + h * direction).requires_grad_()
        (g,) = torch.autograd.grad(module(at, level)[0, 0], at)
        return float((g * direction).sum())

    first, second = ((slope(h) - 2 * slope(0.0) + slope(-h)) / h**2 for h in (1e-2, 5e-3))
    assert first == pytest.approx(second, rel=0.05)


def test_a_fresh_network_gives_every_class_the_same_probability_and_the_level_matters_later():
    x, levels = torch.randn(2, 1, 8, 8), torch.tensor([-5.0, 5.0])
    assert torch.equal(NoisyClassifier((1, 8, 8), 10)(x, levels), torch.zeros(2, 10))
    same = torch.randn(1, 1, 8, 8, dtype=torch.float64).expand(2, -1, -1, -1)
    logits = network((1, 8, 8))(same, levels.double())
    assert not torch.allclose(logits[0], logits[1])


def test_what_is_no_classifier_is_refused():
    with pytest.raises(ValueError, match="a classifier takes events"):
        NoisyClassifier((1, 2, 2, 2, 2), 3)
    with pytest.raises(ValueError, match="at least 2 classes apart, got 1"):
        NoisyClassifier((2,), 1)
