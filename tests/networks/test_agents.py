"""The network of agents: who influences whom, and what turning a scene changes."""

import math

import pytest
import torch

from unstir.networks import Agents, AgentsSettings, ConditionSettings, build_network
from unstir.networks.poses import meeting_features, own_frame, velocity

CHANNELS, AGENTS, PAST, SEGMENTS, TOKENS = 6, 5, 4, 3, 2
SHAPES = {"past": (AGENTS, PAST, 2), "kind": (AGENTS,), "map": (SEGMENTS, 4), "tokens": (AGENTS, TOKENS)}
CONDITIONS = {name: ConditionSettings(shape=shape, how="own") for name, shape in SHAPES.items()}


def network(points: int = 2, **options) -> Agents:
    """One whose zero-initialised layers were moved off zero."""
    settings = AgentsSettings(width=16, layers=2, heads=4, points=points, **options)
    net = build_network(settings, (CHANNELS, AGENTS), conditions=CONDITIONS).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return net


def scene(batch: int = 2, absent: int = 1) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    past = draw(batch, AGENTS, 1, 2) * 3 + draw(batch, AGENTS, PAST, 2).cumsum(2)
    kind = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0], dtype=torch.float64).expand(batch, -1).clone()
    if absent:
        past[:, -absent:], kind[:, -absent:] = math.nan, -1.0
    tokens = draw(batch, AGENTS, TOKENS)
    tokens[:, 0] = math.nan
    return draw(batch, CHANNELS, AGENTS), {
        "past": past,
        "kind": kind,
        "map": draw(batch, SEGMENTS, 4),
        "tokens": tokens,
    }


LEVEL = torch.tensor([-1.0, 2.0], dtype=torch.float64)


@pytest.mark.parametrize("points", [0, 2])
def test_permuting_the_agents_permutes_the_result(points):
    net, (x, given) = network(points), scene()
    order = torch.tensor([3, 0, 4, 2, 1])
    moved = {name: value if name == "map" else value[:, order] for name, value in given.items()}
    torch.testing.assert_close(net(x[:, :, order], LEVEL, **moved), net(x, LEVEL, **given)[:, :, order])


@pytest.mark.parametrize("points", [0, 2])
def test_turning_and_moving_past_and_map_together_changes_nothing(points):
    net, (x, given) = network(points), scene()
    angle = 0.7
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]).double()
    shift = torch.tensor([5.0, -2.0]).double()
    moved = dict(given)
    moved["past"] = given["past"] @ turn.T + shift
    moved["map"] = (given["map"].unflatten(2, (2, 2)) @ turn.T + shift).flatten(2)
    torch.testing.assert_close(net(x, LEVEL, **moved), net(x, LEVEL, **given))


def test_a_mirrored_scene_is_another_one():
    net, (x, given) = network(), scene()
    flip = torch.tensor([1.0, -1.0]).double()
    moved = {**given, "past": given["past"] * flip, "map": given["map"] * flip.repeat(2)}
    assert not torch.allclose(net(x, LEVEL, **moved), net(x, LEVEL, **given), atol=1e-3)


def test_absent_agents_influence_nobody_and_their_entries_are_zero():
    net, (x, given) = network(), scene(absent=2)
    other = {name: value.clone() for name, value in given.items()}
    noisy = x.clone()
    noisy[:, :, -2:] = 100.0
    other["tokens"][:, -2:] = 7.0
    out = net(x, LEVEL, **given)
    assert (out[:, :, -2:] == 0).all()
    torch.testing.assert_close(net(noisy, LEVEL, **other), out)


def test_more_empty_rows_change_nothing():
    x, given = scene(absent=2)
    conditions = {
        name: c.model_copy(update={"shape": c.shape if name == "map" else (3, *c.shape[1:])})
        for name, c in CONDITIONS.items()
    }
    net = network()
    small = build_network(
        AgentsSettings(width=16, layers=2, heads=4, points=2), (CHANNELS, 3), conditions=conditions
    ).double()
    small.load_state_dict(net.state_dict())
    fewer = {name: value if name == "map" else value[:, :3] for name, value in given.items()}
    torch.testing.assert_close(small(x[:, :, :3], LEVEL, **fewer), net(x, LEVEL, **given)[:, :, :3])


@pytest.mark.parametrize("name", ["x", "log_snr", "past", "map", "tokens"])
def test_gradients_reach_every_input(name):
    net, (x, given) = network(), scene(absent=0)
    inputs = {"x": x, "log_snr": LEVEL.clone(), **given}
    inputs["tokens"] = inputs["tokens"].nan_to_num(nan=0.5)
    inputs[name].requires_grad_()
    more = {k: v for k, v in inputs.items() if k not in ("x", "log_snr")}
    net(inputs["x"], inputs["log_snr"], **more).square().sum().backward()
    gradient = inputs[name].grad
    assert torch.isfinite(gradient).all()
    assert (gradient != 0).all()


def test_every_weight_gets_a_gradient():
    net, (x, given) = network(), scene()
    given["map"][0] = math.nan  # one scene without a map, so that its stand-in is used, too
    given["past"][0, 1] = math.nan  # and a vehicle whose past is not known
    net(x, LEVEL, **given).square().sum().backward()
    # "vehicle", "pedestrian" and "not given" share one table; the others are whole.
    still = [n for n, p in net.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]
    assert still == []


def test_gradients_are_finite_for_agents_at_rest():
    net, (x, given) = network(), scene(absent=0)
    given["past"] = given["past"][:, :, :1].expand(-1, -1, PAST, -1).clone().requires_grad_()
    net(x, LEVEL, **given).square().sum().backward()
    assert torch.isfinite(given["past"].grad).all()


@pytest.mark.parametrize("name", ["map", "tokens", "kind", "past"])
def test_nan_means_not_given(name):
    net, (x, given) = network(), scene(absent=0)
    without = {k: v for k, v in given.items() if k != name}
    blank = {**without, name: torch.full_like(given[name], math.nan)}
    torch.testing.assert_close(net(x, LEVEL, **blank), net(x, LEVEL, **without))
    assert not torch.allclose(net(x, LEVEL, **without), net(x, LEVEL, **given), atol=1e-3)


def test_one_scene_without_its_conditions_leaves_the_others_alone():
    net, (x, given) = network(), scene()
    dropped = {name: value.clone() for name, value in given.items()}
    for value in dropped.values():
        value[0] = math.nan
    out = net(x, LEVEL, **dropped)
    torch.testing.assert_close(out[1], net(x, LEVEL, **given)[1])
    torch.testing.assert_close(out[0], net(x, LEVEL)[0])


def test_the_variance_head_doubles_the_channels():
    x, given = scene()
    assert network(variance=True)(x, LEVEL, **given).shape == (2, 2 * CHANNELS, AGENTS)


def test_the_own_frame_looks_ahead_and_to_the_left():
    past = torch.tensor([[[0.0, 0.0], [0.0, 2.0], [0.0, 4.0]]]).double()
    origin, v, rotation = own_frame(past)
    torch.testing.assert_close(origin[0], past[0, -1])
    torch.testing.assert_close(v[0], torch.tensor([0.0, 2.0]).double())
    torch.testing.assert_close(rotation[0], torch.tensor([[0.0, -1.0], [1.0, 0.0]]).double())


def test_the_velocity_of_even_motion_is_exact():
    past = torch.arange(6.0).double()[:, None] * torch.tensor([0.3, -0.4]).double()
    torch.testing.assert_close(velocity(past), torch.tensor([0.3, -0.4]).double())


def test_two_who_will_meet_see_it_and_those_who_pass_see_how_far():
    # At one time after now: the first walks 4 ahead, the second crosses its way at (2, 0), the third stays.
    places = torch.tensor([[[[0.0, 0.0], [4.0, 0.0]], [[2.0, 2.0], [2.0, -2.0]], [[0.0, 1.0], [0.0, 1.0]]]])
    rotation = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).expand(1, 3, 2, 2)
    seen = meeting_features(places, rotation)[0, :, :, 0]
    distance, least = math.hypot(2.0, 2.0), 1.0
    way = torch.tensor([-2.0, -2.0]) * math.log1p(distance) / distance
    torch.testing.assert_close(seen[0, 1], torch.tensor([*way, math.exp(-(distance**2) / 2), 1.0]))
    far = math.hypot(4.0, 1.0)
    torch.testing.assert_close(seen[2, 0, 2:], torch.tensor([math.exp(-(far**2) / 2), math.exp(-least / 2)]))
    # The same way from the other side, in a frame that looks along -y: 2 behind, and 2 to the left.
    turned = torch.tensor([[0.0, 1.0], [-1.0, 0.0]]).expand(1, 3, 2, 2)
    torch.testing.assert_close(
        meeting_features(places, turned)[0, 1, 0, 0, :2], -way * torch.tensor([-1.0, 1.0])
    )


def test_how_two_see_each_other_turns_with_the_scene():
    generator = torch.Generator().manual_seed(3)
    places = torch.randn(2, 4, 3, 2, generator=generator).double()
    angles = torch.randn(2, 4, generator=generator).double()

    def rotations(angle: torch.Tensor) -> torch.Tensor:
        rows = [torch.stack([angle.cos(), -angle.sin()], -1), torch.stack([angle.sin(), angle.cos()], -1)]
        return torch.stack(rows, dim=-2)

    turn = rotations(torch.tensor(1.1).double())
    there = meeting_features(places @ turn.T + torch.tensor([3.0, -1.0]).double(), rotations(angles + 1.1))
    torch.testing.assert_close(there, meeting_features(places, rotations(angles)))


def test_a_future_in_the_state_is_seen_by_all_others_and_by_nobody_else():
    x, given = scene(absent=0)
    net = network(2)
    seen = net.scene(x, given)
    state = x.transpose(1, 2)
    moved = state.clone()
    moved[:, 1] += 1.0
    change = (net.meetings(moved, seen) - net.meetings(state, seen)).abs().sum(dim=(0, 3)) > 1e-6
    wanted = torch.zeros(AGENTS, AGENTS, dtype=torch.bool)
    wanted[1], wanted[:, 1], wanted[1, 1] = True, True, False
    assert change.equal(wanted)


@pytest.mark.parametrize(
    ("event", "conditions", "sentence"),
    [
        ((6,), CONDITIONS, "takes events \\(channels, agents\\), got \\(6,\\)"),
        ((6, 5), {}, "needs the condition 'past'"),
        ((6, 4), CONDITIONS, "'past' of 4 agents has shape \\(4, any, 2\\)"),
        (
            (6, 5),
            {**CONDITIONS, "mood": ConditionSettings(shape=(1,), how="own")},
            "know what to do with .* 'mood'",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(event, conditions, sentence):
    with pytest.raises(ValueError, match=sentence):
        build_network(AgentsSettings(width=16), event, conditions=conditions)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="18 features cannot be split into 4 attention heads"):
        build_network(AgentsSettings(width=18, heads=4), (CHANNELS, AGENTS), conditions=CONDITIONS)
