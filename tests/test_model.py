"""A model: saved, loaded, sampled; and one sentence for each way in which that can fail."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.helpers import check_moments
from unstir.files import write_tensors
from unstir.model import Model, ModelConfig, load
from unstir.processes import VP, Cosine, Flow
from unstir.settings import parse_settings

MLP = {"kind": "mlp", "width": 16, "layers": 1}
UNET = {"kind": "unet", "width": 8, "multipliers": [1, 2], "attention": [1], "heads": 2}


def model(event=(3,), network=None, *, seed=0, **values) -> Model:
    """A small model with weights that are not zero."""
    network = network or (MLP if len(event) == 1 else UNET)
    config = {"event": event, "network": network, "schedule": {"name": "vp"}, **values}
    made = Model(parse_settings(ModelConfig, config), seed=seed, about={"recipe": "test", "samples": 5})
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.denoiser.parameters():
            if not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return made


@pytest.fixture
def saved(tmp_path):
    model(classes=("a", "b", "c")).save(tmp_path / "run")
    return tmp_path / "run"


KINDS = {
    "mlp": ((3,), None, {}),
    "mlp with all": (
        (3,),
        MLP | {"variance": True, "dropout": 0.2},
        {"classes": ("a", "b"), "vector": 2, "target": "x0", "shift": (1, 2, 3), "scale": (2, 1, 0.5)},
    ),
    "unet-1d": ((2, 9), None, {"classes": ("a", "b"), "schedule": {"name": "cosine"}}),
    "unet-2d": ((1, 6, 5), None, {"bounds": (0.0, 16.0), "integer": True, "shift": (8,), "scale": (8,)}),
    "unet-3d": ((1, 4, 3, 5), None, {"target": "velocity", "schedule": {"name": "flow"}}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_comes_back_from_its_folder_exactly_as_it_was(kind, tmp_path):
    event, network, values = KINDS[kind]
    before = model(event, network, **values)
    before.save(tmp_path / "run")
    after = load(tmp_path / "run")
    assert after.config == before.config
    assert after.about == before.about
    assert before.describe() == after.describe()
    weights, expected = after.denoiser.state_dict(), before.denoiser.state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], value) for name, value in expected.items())
    x = after.sample(3, steps=2, seed=1)
    assert x.shape == (3, *event)
    assert x.dtype == torch.float32
    assert torch.equal(x, before.sample(3, steps=2, seed=1))
    assert not after.denoiser.training
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("solver", ["multistep", "ddpm", "heun"])
@pytest.mark.parametrize("kind", ["mlp with all", "unet-2d"])
def test_sample_i_does_not_depend_on_n_batch_or_first_index(kind, solver):
    event, network, values = KINDS[kind]
    made = model(event, network, **values)
    options = {"steps": 4, "seed": 7, "solver": solver}
    labels = [i % 2 for i in range(9)] if made.config.classes else None

    def draw(n, first=0, **more):
        condition = None if labels is None else {"label": labels[first : first + n]}
        return made.sample(n, first_index=first, condition=condition, guidance=0.5, **options, **more)

    whole = draw(9)
    torch.testing.assert_close(draw(9, batch=2), whole, rtol=0, atol=1e-5 * float(whole.abs().max()))
    torch.testing.assert_close(draw(4), whole[:4], rtol=0, atol=1e-5 * float(whole.abs().max()))
    torch.testing.assert_close(draw(3, first=5), whole[5:8], rtol=0, atol=1e-5 * float(whole.abs().max()))
    assert not torch.allclose(made.sample(9, steps=4, seed=8, solver=solver), whole)
    assert float((whole[0] - whole[1]).abs().max()) > 1e-3


def gaussian_model(std=0.5, shift=3.0, scale=2.0):
    """A model with the exact denoiser of round Gaussian data: a network that says nothing."""
    config = {"event": (2,), "network": MLP, "schedule": {"name": "vp"}, "sigma_data": std}
    made = Model(parse_settings(ModelConfig, config | {"shift": [shift], "scale": [scale]}))
    assert not made.denoiser.module.leave.weight.any()
    return made


@pytest.mark.parametrize("schedule", [None, Cosine(), Flow(), VP(0.2, 30.0)], ids=str)
def test_a_model_sampled_under_any_schedule_has_the_statistics_of_its_data(schedule):
    x = gaussian_model().sample(4000, steps=40, schedule=schedule, batch=4000)
    check_moments(x, mean=3.0, variance=(0.5 * 2.0) ** 2)


def test_a_solution_carries_its_path_in_data_units_and_its_cost():
    made = model((1, 6, 5), bounds=(0.0, 16.0), shift=(8,), scale=(8,))
    told = []
    solution = made.solve(5, steps=3, batch=2, path=True, on_step=told.append)
    assert solution.path.shape == (4, 5, 1, 6, 5)
    assert solution.nfe == 3
    assert len(solution.grid) == 4
    assert len(told) == 3 * 3
    torch.testing.assert_close(solution.path[-1].clamp(0.0, 16.0), solution.x)
    assert float(solution.path[0].std()) > 4.0  # noise of deviation 8, not clamped


def test_bounds_clamp_the_samples_and_reach_them():
    free = model((1, 6, 5), shift=(0.5,), scale=(1.0,))
    bounded = model((1, 6, 5), shift=(0.5,), scale=(1.0,), bounds=(0.0, 1.0))
    x = free.sample(20, steps=3)
    assert float(x.min()) < 0.0
    assert float(x.max()) > 1.0
    assert torch.equal(bounded.sample(20, steps=3), x.clamp(0.0, 1.0))


def test_classes_are_given_by_name_or_number_or_one_for_each_sample():
    made = model(classes=("cat", "dog", "7"))
    by_name = made.sample(2, steps=2, condition={"label": "dog"})
    assert torch.equal(made.sample(2, steps=2, condition={"label": 1}), by_name)
    assert torch.equal(made.sample(2, steps=2, condition={"label": ["dog", 1]}), by_name)
    assert torch.equal(made.sample(2, steps=2, condition={"label": torch.tensor([1, 1])}), by_name)
    assert torch.equal(made.sample(2, steps=2, condition={"label": np.int64(1)}), by_name)
    assert torch.equal(made.sample(2, steps=2, condition={"label": np.array([1, 1])}), by_name)
    assert torch.equal(made.sample(2, steps=2, condition={"label": "1"}), by_name)
    assert made.class_number("7") == 2  # a name that is a number is a name
    none = made.sample(2, steps=2)
    assert torch.equal(made.sample(2, steps=2, condition={"label": -1}), none)
    assert not torch.equal(by_name, none)


def test_guidance_acts_on_a_conditional_run_only_and_within_its_window():
    made = model(classes=("a", "b"))
    plain = made.sample(2, steps=3, condition={"label": 0})
    assert torch.equal(made.sample(2, steps=3, condition={"label": 0}, guidance=0.0), plain)
    guided = made.sample(2, steps=3, condition={"label": 0}, guidance=2.0)
    assert not torch.equal(guided, plain)
    assert torch.equal(made.sample(2, steps=3, guidance=2.0), made.sample(2, steps=3))
    never = made.sample(2, steps=3, condition={"label": 0}, guidance=2.0, window=(0.999, 1.0))
    assert torch.equal(never, plain)
    default = model(classes=("a", "b"), sampling={"steps": 3, "guidance": 2.0})
    assert torch.equal(default.sample(2, condition={"label": 0}), guided)


def test_condition_vectors_are_one_for_all_or_one_for_each():
    made = model(vector=2)
    one = made.sample(3, steps=2, condition={"vector": [1.0, -1.0]})
    assert torch.equal(made.sample(3, steps=2, condition={"vector": torch.tensor([[1.0, -1.0]] * 3)}), one)
    assert not torch.equal(made.sample(3, steps=2), one)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"n": 0}, "number of samples is at least 1, got 0"),
        ({"n": -3}, "number of samples is at least 1, got -3"),
        ({"batch": 0}, "a batch holds at least 1 sample, got 0"),
        ({"steps": 0}, "at least 1 step, got 0"),
        ({"steps": -1}, "at least 1 step, got -1"),
        ({"solver": "hein"}, "unknown solver 'hein'; did you mean 'heun'?"),
        ({"grid": "karas"}, "unknown grid 'karas'; did you mean 'karras'?"),
        ({"guidance": -0.5}, "guidance weight must be at least 0"),
        ({"guidance": math.nan}, "guidance weight must be at least 0"),
        ({"window": (0.5, 0.2)}, "a guidance window is (low, high)"),
        ({"condition": {"label": 3}}, "there is no class 3; the classes are 0 to 2"),
        ({"condition": {"label": -2}}, "there is no class -2"),
        ({"condition": {"label": "cow"}}, "there is no class 'cow'; the classes are a, b, c"),
        ({"condition": {"label": "--1"}}, "there is no class '--1'"),
        ({"condition": {"label": "²"}}, "there is no class '²'"),
        ({"condition": {"label": ""}}, "there is no class ''"),
        ({"condition": {"label": [0, 1, 2]}}, "there are 3 labels for 2 samples"),
        ({"condition": {"vector": [1.0]}}, "takes no condition 'vector'; it takes label"),
        ({"condition": {"colour": 1}}, "takes no condition 'colour'; it takes label"),
    ],
)
def test_what_cannot_be_sampled_is_refused_with_a_sentence(options, sentence):
    made = model(classes=("a", "b", "c"))
    with pytest.raises(ValueError) as error:  # noqa: PT011, the sentence is compared below
        made.sample(**{"n": 2, "steps": 2} | options)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_conditions_that_do_not_fit_the_model_are_refused():
    with pytest.raises(ValueError, match="it takes none"):
        model().sample(1, steps=1, condition={"label": 0})
    with pytest.raises(ValueError, match=r"shape \(3, 2\) or \(2,\), got \(3, 4\)"):
        model(vector=2).sample(3, steps=1, condition={"vector": torch.zeros(3, 4)})


def test_weights_that_make_no_numbers_stop_the_sampler():
    made = model()
    with torch.no_grad():
        made.denoiser.module.leave.bias.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="not finite after step 1 of 2"):
        made.sample(2, steps=2)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"event": (3, 4), "network": MLP}, "an MLP takes vectors"),
        ({"event": (3,), "network": UNET}, "a U-Net takes events"),
        ({"event": (1, 2, 2, 2, 2), "network": UNET}, "a U-Net takes events"),
        ({"event": (1, 4), "network": UNET | {"heads": 3}}, "attention heads"),
        ({"event": (1, 4), "network": UNET | {"attention": [5]}}, "5"),
    ],
)
def test_a_network_that_does_not_fit_the_event_is_refused(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        Model(parse_settings(ModelConfig, {"schedule": {"name": "vp"}} | values))


def test_making_a_model_leaves_the_global_generator_alone_and_repeats():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    a, b, c = model(seed=1), model(seed=1), model(seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    a, b, c = (m.denoiser.state_dict()["module.enter.weight"] for m in (a, b, c))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def change_config(run, **changes):
    config = json.loads((run / "config.json").read_text())
    config |= changes
    (run / "config.json").write_text(json.dumps(config))


def other_weights(run):
    model((5,)).save(run / "other")
    (run / "other" / "model.safetensors").replace(run / "model.safetensors")


def bad_weights(run):
    tensors = load_file(run / "model.safetensors")
    tensors["leave.bias"][1] = math.inf
    save_file(tensors, run / "model.safetensors")


def edit_model(run, **changes):
    config = json.loads((run / "config.json").read_text())
    change_config(run, model=config["model"] | changes)


def cut(name, size):
    def harm(run):
        (run / name).write_bytes((run / name).read_bytes()[:size])

    return harm


HARMS = {
    "truncated weights": (cut("model.safetensors", 300), "model.safetensors is not a readable"),
    "empty weights": (cut("model.safetensors", 0), "model.safetensors is not a readable"),
    "truncated config": (cut("config.json", 99), "config.json is not a readable JSON file"),
    "no config": (lambda run: (run / "config.json").unlink(), "is not a run: it has no config.json"),
    "no weights": (lambda run: (run / "model.safetensors").unlink(), "holds no trained weights yet"),
    "another schema": (lambda run: change_config(run, schema=7), "has schema 7, but this version"),
    "another file": (lambda run: (run / "config.json").write_text("[1, 2]"), "does not describe an unstir"),
    "model is no group": (lambda run: change_config(run, model=5), "settings are"),
    "an unknown key": (lambda run: edit_model(run, tarket="v"), "unknown setting 'tarket'; did you mean"),
    "an unknown schedule": (lambda run: edit_model(run, schedule={"name": "vq"}), "unknown schedule 'vq'"),
    "a schedule of words": (
        lambda run: edit_model(run, schedule={"name": "vp", "beta_max": "x"}),
        "the parameters of schedule 'vp' are numbers",
    ),
    "another network": (other_weights, "does not fit the network that config.json describes"),
    "weights not finite": (bad_weights, "the weights 'leave.bias' are not finite"),
    "no tensors": (lambda run: write_tensors(run / "model.safetensors", {}), "does not fit the network"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_folder_is_one_sentence(harm, saved):
    do, sentence = HARMS[harm]
    do(saved)
    with pytest.raises(ValueError) as error:  # noqa: PT011, the sentence is compared below
        load(saved)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["nowhere", "./owner/name", "a/b/c", "~/x", "/nowhere/at/all"])
def test_a_folder_that_is_not_there_is_one_sentence(name):
    with pytest.raises(FileNotFoundError, match=f"^there is no folder {name}$"):
        load(name)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The cache of Hugging Face models, empty, and no network."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


def test_a_hub_model_without_a_network_is_one_sentence(hub):
    with pytest.raises(FileNotFoundError, match="no model of that name could be fetched") as error:
        load("someone/something")
    assert "\n" not in str(error.value)


def test_a_hub_model_that_was_fetched_before_needs_no_network(hub):
    made = model()
    snapshot = hub / "models--someone--something" / "snapshots" / ("a" * 40)
    made.save(snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("a" * 40)
    assert torch.equal(load("someone/something").sample(2, steps=2), made.sample(2, steps=2))


def test_nothing_in_a_folder_is_ever_executed(saved):
    (saved / "model.safetensors").write_bytes(b"\x80\x04cposix\nsystem\n(S'touch harmed'\ntR.")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        load(saved)
