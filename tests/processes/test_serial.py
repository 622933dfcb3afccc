import json

import pytest
import torch

from tests.helpers import SCHEDULES
from unstir.processes import SCHEDULES as KINDS
from unstir.processes import VP, Heat, HeatOnGraph, Table, schedule_from_dict, schedule_to_dict


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_survives_json(name):
    schedule = SCHEDULES[name]
    again = schedule_from_dict(json.loads(json.dumps(schedule_to_dict(schedule))))
    assert again == schedule
    assert hash(again) == hash(schedule)
    t = torch.linspace(0, 1, 5)
    assert torch.equal(again.log_snr(t), schedule.log_snr(t))


def test_every_kind_is_written_under_its_own_name():
    blurring = (Heat(), HeatOnGraph((0.0,), ((1.0,),)))
    written = {schedule_to_dict(schedule)["name"] for schedule in (*SCHEDULES.values(), *blurring)}
    assert written == set(KINDS)


def test_parameters_left_out_have_their_defaults():
    assert schedule_from_dict({"name": "vp"}) == VP()
    assert schedule_from_dict({"name": "vp", "beta_max": 10.0}) == VP(beta_max=10.0)


def test_the_description_is_left_as_it_was():
    description = {"name": "zero-terminal", "base": {"name": "betas", "betas": [0.1, 0.2]}}
    schedule = schedule_from_dict(description)
    assert schedule.base == Table((0.1, 0.2))
    assert description == {"name": "zero-terminal", "base": {"name": "betas", "betas": [0.1, 0.2]}}


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"name": "vq"}, "unknown schedule 'vq'; did you mean 'v"),
        ({}, "unknown schedule None"),
        ({"name": "vp", "beta": 1}, "schedule 'vp' has no parameter 'beta'; it takes beta_min, beta_max"),
        ({"name": "flow", "x": 1}, "schedule 'flow' has no parameter 'x'; it takes no parameters"),
        ({"name": "vp", "beta_min": -1.0}, "VP needs 0 < beta_min"),
        ({"name": "zero-terminal", "base": {"name": "flow"}}, "only a variance-preserving schedule"),
        ({"name": "betas"}, "schedule 'betas' needs the parameter 'betas'"),
        ({"name": "zero-terminal"}, "schedule 'zero-terminal' needs the parameter 'base'"),
    ],
)
def test_a_description_that_is_wrong_is_refused_in_one_sentence(description, message):
    with pytest.raises(ValueError, match=message):
        schedule_from_dict(description)


def test_a_foreign_schedule_cannot_be_written():
    class Mine(VP):
        pass

    with pytest.raises(ValueError, match="a schedule of class Mine cannot be written to a file"):
        schedule_to_dict(Mine())
