"""Named conditions: each way in is felt by the network, and "not given" is one thing."""

import pytest
import torch

from unstir.denoisers import Network
from unstir.networks import AgentsSettings, ConditionSettings, MLPSettings, UNetSettings, build_network
from unstir.networks.build import fitted
from unstir.networks.conditions import ImageEncoder, Perceptron
from unstir.processes import VP
from unstir.settings import parse_settings

CONDITIONS = {
    "observation": ConditionSettings(shape=(4, 2)),
    "picture": ConditionSettings(shape=(3, 17, 20), how="image"),
    "field": ConditionSettings(shape=(2, 9, 7), how="channels"),
}


def unet(conditions=None):
    settings = UNetSettings(width=8, multipliers=(1, 2))
    network = build_network(settings, (1, 9, 7), conditions=conditions or CONDITIONS)
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():  # a fresh network ends in zeros
        torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    return network


def states(batch):
    return torch.randn(batch, 1, 9, 7, generator=torch.Generator().manual_seed(2))


def given(batch=3):
    g = torch.Generator().manual_seed(0)
    return {name: torch.randn(batch, *c.shape, generator=g) for name, c in CONDITIONS.items()}


def test_gradients_reach_every_condition():
    network, conditions = unet(), given()
    for value in conditions.values():
        value.requires_grad_()
    network(states(3), torch.zeros(3), **conditions).square().sum().backward()
    for value in conditions.values():
        assert bool((value.grad.flatten(1).abs().sum(1) > 0).all())


@pytest.mark.parametrize("name", list(CONDITIONS))
def test_not_a_number_is_the_same_as_nothing(name):
    network, conditions, x = unet(), given(), states(3)
    blank = {**conditions, name: torch.full_like(conditions[name], torch.nan)}
    absent = {key: value for key, value in conditions.items() if key != name}
    with torch.no_grad():
        a, b = network(x, torch.zeros(3), **blank), network(x, torch.zeros(3), **absent)
        c = network(x, torch.zeros(3), **conditions)
    assert torch.equal(a, b)
    assert not torch.allclose(a, c)


def test_one_missing_entry_of_a_field_leaves_the_others():
    network, x = unet(), states(1)
    field = given(1)["field"]
    holed = field.clone()
    holed[0, 0, 4, 3] = torch.nan
    with torch.no_grad():
        outputs = [
            network(x, torch.zeros(1), field=f) for f in (field, holed, torch.full_like(field, torch.nan))
        ]
    assert bool(outputs[1].isfinite().all())
    assert not torch.allclose(outputs[1], outputs[0])
    assert not torch.allclose(outputs[1], outputs[2])


def test_a_denoiser_knows_how_to_say_that_nothing_is_given():
    denoiser = Network(unet(), VP())
    blank = denoiser.no_condition(given())
    assert all(bool(value.isnan().all()) for value in blank.values())
    assert denoiser.no_condition({"unheard": torch.zeros(3, 1)}) is None


def test_a_vector_event_takes_channels_as_features():
    network = build_network(
        MLPSettings(width=8), (5,), conditions={"known": ConditionSettings(shape=(5,), how="channels")}
    )
    assert network(torch.zeros(2, 5), torch.zeros(2), known=torch.full((2, 5), torch.nan)).shape == (2, 5)


def test_a_condition_of_another_space_is_refused():
    wrong = {"field": ConditionSettings(shape=(1, 8, 7), how="channels")}
    with pytest.raises(ValueError, match="its space is that of the event"):
        build_network(UNetSettings(width=8), (1, 9, 7), conditions=wrong)
    with pytest.raises(ValueError, match="does not know what to do"):
        build_network(
            UNetSettings(width=8), (1, 9), conditions={"a": ConditionSettings(shape=(1,), how="own")}
        )
    with pytest.raises(ValueError, match="built without the condition 'wind'"):
        unet()(torch.zeros(1, 1, 9, 7), torch.zeros(1), wind=torch.zeros(1, 2))


@pytest.mark.parametrize("name", ["type", "keys", "values", "forward", "training", "_modules", "more"])
def test_a_name_that_modules_use_themselves_is_as_good_as_any(name):
    conditions = {name: ConditionSettings(shape=(2,))}
    network = unet(conditions)
    again = unet(conditions)
    again.load_state_dict(network.state_dict())
    with torch.no_grad():
        plain, told = (network(states(1), torch.zeros(1), **c) for c in ({}, {name: torch.ones(1, 2)}))
        assert torch.equal(again(states(1), torch.zeros(1), **{name: torch.ones(1, 2)}), told)
    assert not torch.allclose(plain, told)


def test_other_names_keep_the_keys_that_trained_models_have():
    keys = set(unet({"observation": ConditionSettings(shape=(2,))}).state_dict())
    assert "condition.more.observation.layers.0.weight" in keys


@pytest.mark.parametrize(
    "name", ["x", "x_t", "t", "log_snr", "label", "vector", "self", "a.b", "", "a b", "class", "1st"]
)
def test_a_name_that_cannot_be_one_is_refused(name):
    with pytest.raises(ValueError, match="the name of a condition is a word such as 'observation'"):
        unet({name: ConditionSettings(shape=(2,))})


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"shape": ()}, "at least 1 item"),
        ({"shape": (0,)}, "greater than 0"),
        (
            {"shape": (3,), "shift": (0.0, 0.0), "scale": (1.0, 1.0)},
            "one shift and scale, or by 3 of each",
        ),
        ({"shape": (3,), "shift": (0.0, 0.0, 0.0)}, "got 3 and 1"),
        ({"shape": (3,), "scale": (0.0,)}, "greater than 0"),
        ({"shape": (3,), "scale": (float("inf"),)}, "finite number"),
        ({"shape": (3,), "shift": (float("nan"),)}, "finite number"),
        ({"shape": (3,), "how": "embd"}, "'embed', 'channels', 'image' or 'own'"),
    ],
)
def test_a_condition_that_cannot_be_one_is_one_sentence(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse_settings(ConditionSettings, values)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"map": ConditionSettings(shape=(3, 4))}, "'map': its kind is 'own', not 'embed'"),
        ({"past": ConditionSettings(shape=(5, 4, 2), how="image")}, "'past': its kind is 'own', not 'image'"),
        ({"field": ConditionSettings(shape=(1, 5), how="channels")}, "takes no condition beside the event's"),
    ],
)
def test_a_network_of_agents_refuses_what_it_would_not_use_or_would_use_twice(more, sentence):
    past = {"past": ConditionSettings(shape=(5, 4, 2), how="own")}
    build_network(AgentsSettings(width=16), (6, 5), conditions=past)
    with pytest.raises(ValueError, match=sentence):
        build_network(AgentsSettings(width=16), (6, 5), conditions=past | more)


def test_a_picture_is_felt_by_where_things_are():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = ImageEncoder((1, 32, 32), 16)
    left, right = torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    left[..., 8:12, 4:8] = 1.0
    right[..., 8:12, 24:28] = 1.0
    with torch.no_grad():
        assert not torch.allclose(encoder(left, 1), encoder(right, 1), atol=1e-4)
        assert encoder(None, 3).shape == Perceptron((2,), 16)(None, 3).shape == (3, 16)


def test_a_new_kind_of_network_may_look_at_the_data():
    class Curious(UNetSettings):
        def fitted(self, target, data, deviation):
            return self.model_copy(update={"width": round(8 * deviation) * len(data)})

    assert fitted(Curious(), "v", [0, 1], 2.0).width == 32
    assert fitted(UNetSettings(width=8), "v", [0, 1], 2.0) == UNetSettings(width=8)
