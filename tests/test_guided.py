"""Guidance of a model's runs: of each sample, by a negative condition, a weaker model, several classes."""

from __future__ import annotations

import math

import pytest
import torch

from tests.test_model import MLP, UNET, model
from unstir.denoisers import Rescheduled
from unstir.guidance import Autoguidance, ClassifierFree, Composed
from unstir.guided import knows_unconditional, weights_of
from unstir.model import Model, load
from unstir.processes import Flow
from unstir.samplers import sample

CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def made():
    return model(classes=CLASSES, vector=2)


def direct(made, guided, n=3, **condition):
    """The samples of a guided denoiser by `sample` itself."""
    return sample(guided, (n, *made.config.event), steps=4, condition=condition).x


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=2e-5 * float(expected.abs().max()))


def test_a_run_is_that_of_the_guided_denoiser(made):
    label = torch.tensor([1, 1, 1])
    options = {"steps": 4, "condition": {"label": 1}}
    for weight in (2.0, [0.0, 1.0, 5.0], torch.tensor([0.0, 1.0, 5.0])):
        guided = ClassifierFree(
            made.denoiser, weight if isinstance(weight, float) else torch.tensor([0.0, 1.0, 5.0]), rescale=0.7
        )
        x = made.sample(3, guidance=weight, rescale=0.7, **options)
        close(x, direct(made, guided, label=label))
    negative = ClassifierFree(made.denoiser, 2.0, negative={"label": torch.tensor([2])})
    close(
        made.sample(3, guidance=2.0, negative={"label": "c"}, **options), direct(made, negative, label=label)
    )


@pytest.mark.parametrize("kind", [MLP, UNET], ids=["mlp", "unet"])
def test_sample_i_with_its_own_weight_and_negative_does_not_depend_on_the_batch(kind):
    made = model((3,) if kind is MLP else (1, 6, 5), kind, classes=CLASSES)
    weights, negative = [0.0, 0.5, 1.0, 2.0, 4.0], {"label": ["a", "b", "c", "a", -1]}
    options = {"steps": 3, "seed": 4, "condition": {"label": 1}}
    whole = made.sample(5, guidance=weights, negative=negative, **options)
    close(made.sample(5, guidance=weights, negative=negative, batch=2, **options), whole)
    for k in range(5):
        own = {"label": negative["label"][k]}
        close(made.sample(1, guidance=weights[k], negative=own, first_index=k, **options), whole[k : k + 1])
    plain = made.sample(5, guidance=0.0, **options)
    close(whole[:1], plain[:1])
    assert not torch.allclose(whole[1:], plain[1:], atol=1e-3)


def test_a_run_without_condition_is_guided_by_a_negative_condition_only(made):
    plain = made.sample(2, steps=3)
    assert torch.equal(made.sample(2, steps=3, guidance=2.0, rescale=1.0), plain)
    assert not torch.equal(made.sample(2, steps=3, guidance=2.0, negative={"label": 0}), plain)


def test_a_weaker_model_guides_with_and_without_a_condition(made):
    weaker = model(classes=CLASSES, vector=2, seed=1, network=MLP | {"width": 8}, schedule={"name": "flow"})
    label = torch.tensor([2, 2, 2])
    guided = Autoguidance(made.denoiser, weaker.denoiser, 1.5)
    close(made.sample(3, steps=4, guidance=1.5, guidance_from=weaker), direct(made, guided))
    options = {"steps": 4, "guidance_from": weaker, "condition": {"label": "c"}}
    close(made.sample(3, guidance=1.5, **options), direct(made, guided, label=label))
    plain = made.sample(3, steps=4, condition={"label": "c"})
    assert torch.equal(made.sample(3, guidance=0.0, **options), plain)
    whole = made.sample(3, guidance=[0.0, 1.5, 1.5], **options)
    close(whole[1:], made.sample(3, guidance=1.5, **options)[1:])
    close(whole[:1], plain[:1])
    assert made.solve(3, guidance=1.5, **options).nfe == 8
    itself = options | {"guidance_from": made}
    close(made.sample(3, guidance=5.0, **itself), plain)


def test_several_classes_at_once_are_composed(made):
    conditions = [{"label": torch.tensor([0])}, {"label": torch.tensor([2])}]
    for guidance, weight in ((None, 1.0), (0.5, 1.5)):
        x = made.sample(3, steps=4, guide=made.all_of(["a", 2], guidance))
        close(x, direct(made, Composed(made.denoiser, conditions, weight)))
    one = made.sample(3, steps=4, guide=made.all_of(["b"], 2.0))
    close(one, made.sample(3, steps=4, condition={"label": "b"}, guidance=2.0))


def test_guidance_and_a_guide_of_ones_own_and_another_schedule_go_together(made):
    seen = []

    def guide(denoiser):
        seen.append(denoiser)
        return denoiser

    options = {"steps": 3, "condition": {"label": 0}, "schedule": Flow(), "batch": 2}
    x = made.sample(5, guidance=2.0, guide=guide, **options)
    assert torch.equal(x, made.sample(5, guidance=2.0, **options))
    assert len(seen) == 1  # guided alike, all batches share one denoiser
    assert isinstance(seen[0], ClassifierFree)
    assert isinstance(seen[0].denoiser, Rescheduled)
    made.sample(5, guidance=[1.0, 2.0, 3.0, 4.0, 5.0], guide=guide, **options)
    assert [len(d.weight) for d in seen[1:]] == [2, 2, 1]


def test_what_acts_by_guidance_only_is_refused_without_any():
    made = model(classes=CLASSES)
    options = {"steps": 2, "condition": {"label": 0}}
    for asked in ({"rescale": 0.5}, {"negative": {"label": 1}}):
        with pytest.raises(ValueError, match="acts by guidance; give a guidance above 0"):
            made.sample(2, **asked, **options)


def test_a_guide_that_makes_no_denoiser_is_refused():
    with pytest.raises(ValueError, match=r"such as ClassifierFree.* and this one gave NoneType"):
        model().sample(2, steps=2, guide=lambda denoiser: None)


def about(share):
    return {"recipe": "test", "settings": {"training": {"drop_condition": share, "batch": 4}}}


def without_dropout(share=0.0, **values) -> Model:
    made = model(classes=CLASSES, **values)
    return Model(made.config, about=about(share))


def test_a_model_knows_whether_it_was_trained_with_condition_dropout():
    assert knows_unconditional({})
    assert knows_unconditional({"settings": None, "distillation": "x"})
    assert knows_unconditional(about(0.1))
    assert not knows_unconditional(about(0))
    distilled = {"distillation": {"settings": {"drop_condition": 0.2}}}
    assert knows_unconditional(about(0.0) | distilled)
    distilled["distillation"]["settings"]["drop_condition"] = 0.0
    assert not knows_unconditional(about(0.3) | distilled)
    assert without_dropout(0.1).denoiser.unconditional
    assert not without_dropout(0.0).denoiser.unconditional
    assert Model(model().config, about=about(0.0)).denoiser.unconditional  # it has no conditions at all


def test_a_saved_model_remembers_and_one_saved_before_still_loads(tmp_path):
    without_dropout().save(tmp_path / "run")
    loaded = load(tmp_path / "run")
    with pytest.raises(ValueError, match="condition dropout"):
        loaded.sample(2, steps=2, condition={"label": 0}, guidance=1.0)
    model(classes=CLASSES).save(tmp_path / "old")
    assert load(tmp_path / "old").sample(2, steps=2, condition={"label": 0}, guidance=1.0).shape == (2, 3)


def test_without_dropout_the_default_guidance_is_none_and_what_needs_no_dropout_works():
    made = without_dropout(sampling={"steps": 2, "guidance": 2.0})
    options = {"steps": 2, "condition": {"label": 0}}
    assert made.default_guidance == 0.0
    assert torch.equal(made.sample(2, **options), made.sample(2, guidance=0.0, **options))
    assert made.sample(2, guidance=1.0, negative={"label": 1}, **options).shape == (2, 3)
    assert made.sample(2, guidance=1.0, guidance_from=made, **options).shape == (2, 3)
    with pytest.raises(ValueError, match="condition dropout"):
        made.sample(2, steps=2, guide=made.all_of(["a", "b"]))
    assert model(classes=CLASSES, sampling={"guidance": 2.0}).default_guidance == 2.0


def test_weights_are_a_number_or_one_for_each_sample():
    assert weights_of(3, 2) == 2.0
    assert isinstance(weights_of(3, torch.tensor(2.0)), float)
    assert weights_of(3, (0, 1, 2.5)).tolist() == [0.0, 1.0, 2.5]


OTHER = {"event": (4,), "classes": CLASSES, "vector": 2}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"guidance": [1.0, 2.0, 3.0]}, "there are 3 guidance weights for 2 samples"),
        ({"guidance": [1.0, -2.0]}, "guidance weight must be at least 0 (0 means conditional only), got -2"),
        ({"guidance": [1.0, math.nan]}, "guidance weight must be at least 0"),
        ({"guidance": 1.0, "rescale": 1.5}, "rescale lies between 0"),
        ({"rescale": -0.5}, "rescale lies between 0"),
        ({"negative": {"label": 0}}, "a negative condition acts by guidance; give a guidance above 0"),
        ({"guidance": 1.0, "negative": {"label": 7}}, "there is no class 7"),
        ({"guidance": 1.0, "negative": {"label": [0, 1, 2]}}, "there are 3 labels for 2 samples"),
        ({"guidance": 1.0, "negative": {"hue": 1}}, "takes no condition 'hue'"),
        ({"guidance_from": model(classes=CLASSES, vector=2)}, "a weaker model needs a weight"),
        (
            {"guidance_from": model(**OTHER), "guidance": 1.0},
            "one of the same data, but it has events of shape (4,), and this one (3,)",
        ),
        (
            {"guidance_from": model(classes=("a",), vector=2), "guidance": 1.0},
            "it has the classes ('a',), and this one ('a', 'b', 'c')",
        ),
        (
            {"guidance_from": model(classes=CLASSES, vector=2, scale=(2.0,)), "guidance": 1.0},
            "it has the shift and scale",
        ),
        (
            {"guidance_from": model(classes=CLASSES, vector=2), "guidance": 1.0, "negative": {"label": 0}},
            "takes no negative condition and no rescale",
        ),
        (
            {"guidance_from": model(classes=CLASSES, vector=2), "guidance": 1.0, "rescale": 0.5},
            "takes no negative condition and no rescale",
        ),
    ],
)
def test_guidance_that_is_none_is_refused_with_a_sentence(made, options, sentence):
    with pytest.raises(ValueError) as error:  # noqa: PT011, the sentence is compared below
        made.sample(**{"n": 2, "steps": 2, "condition": {"label": 1}} | options)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_classes_that_cannot_be_joined_are_refused(made):
    for classes, guidance, sentence in [
        (["a", "z"], None, "there is no class 'z'"),
        (["a", ""], None, "there is no class ''"),
        (["a", "b"], -1.0, "guidance weight must be at least 0"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            made.all_of(classes, guidance)
