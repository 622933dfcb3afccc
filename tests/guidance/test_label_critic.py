"""The critic of labels: what it answers, and its file."""

import json

import pytest
import torch

from tests.cli.commands import strays
from unstir.denoisers import GaussianMixture
from unstir.files import read_tensors, write_tensors
from unstir.guidance import Classifier, CriticConfig, LabelCritic
from unstir.processes import VE, VP, Cosine, Flow, Heat, schedule_to_dict
from unstir.samplers import sample

CONFIG = CriticConfig(
    event=(1, 4, 6), classes=("a", "b", "c"), schedule=schedule_to_dict(VP()), sigma_data=0.5,
    shift=(8.0,), scale=(8.0,), width=8,
)  # fmt: skip


def critic(schedule=None, **changes):
    config = CONFIG.model_copy(update={"schedule": schedule_to_dict(schedule or VP()), **changes})
    made = LabelCritic(config)
    generator = torch.Generator().manual_seed(0)
    for parameter in made.parameters():  # as if it had learned something
        parameter.data.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return made.eval().requires_grad_(False)


X = torch.randn(3, 1, 4, 6, generator=torch.Generator().manual_seed(1))


def test_probabilities_sum_to_one_and_a_label_picks_its_own():
    made, t = critic(), torch.tensor([0.1, 0.5, 1.0])
    log_p = made.log_probabilities(X, t)
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(3))
    label = torch.tensor([2, -1, 0])
    result = made(X, t, label=label, vector=torch.zeros(3, 2))
    torch.testing.assert_close(result, torch.stack([log_p[0, 2], torch.zeros(()), log_p[2, 0]]))


@pytest.mark.parametrize("schedule", [VP(), VE(), Flow(), Cosine(0.0), Heat(VP(), blur=0.3)])
def test_it_guides_at_every_noise_level_and_pulls_nothing_towards_any_class(schedule):
    mixture = GaussianMixture(schedule, torch.zeros(1, 1, 4, 6), stds=torch.tensor([0.5]))
    guide = Classifier(mixture, critic(schedule), 2.0)
    label = torch.tensor([0, 2, -1])
    for t in (0.01, 0.5, 1.0):
        plain, moved = mixture(X, t).mean, guide(X, t, label=label).mean
        assert torch.isfinite(moved).all()
        assert [bool((a != b).any()) for a, b in zip(plain, moved, strict=True)] == [True, True, False]
    x = sample(guide, (3, 1, 4, 6), condition={"label": label}, steps=10).x
    assert torch.isfinite(x).all()


def test_of_a_double_state_the_gradient_is_double():
    mixture = GaussianMixture(VP(), torch.zeros(1, 1, 4, 6), stds=torch.tensor([0.5]))
    posterior = Classifier(mixture, critic())(X.double(), 0.4, label=torch.tensor([0, 1, 2]))
    assert posterior.mean.dtype == torch.float64


def test_states_of_equal_log_snr_look_alike_under_any_schedule():
    made, t = critic(), float(Flow().time(0.7))
    scale = float(Flow().sigma(t) / VP().sigma(VP().time(0.7)))
    expected = made.log_probabilities(X, float(VP().time(0.7)))
    torch.testing.assert_close(
        made.under(Flow()).log_probabilities(X * scale, t), expected, rtol=1e-4, atol=1e-4
    )
    blurred = critic(Heat(VP(), blur=0.3))
    assert blurred.under(Heat(VP(), blur=0.3)).schedule == blurred.schedule
    for made, other in ((blurred, VP()), (critic(), Heat(VP(), blur=0.3))):
        with pytest.raises(ValueError, match="cannot judge states of"):
            made.under(other)


def test_a_file_brings_back_the_same_critic_and_holds_no_code(tmp_path):
    made = critic()
    made.save(tmp_path / "critic.safetensors")
    again = LabelCritic.load(tmp_path / "critic.safetensors")
    assert again.config == made.config
    assert torch.equal(again.log_probabilities(X, 0.3), made.log_probabilities(X, 0.3))
    assert not again.training
    assert not any(p.requires_grad for p in again.parameters())
    assert strays(tmp_path) == []
    header = json.loads(read_tensors(tmp_path / "critic.safetensors")[1]["classifier"])
    assert header["classes"] == ["a", "b", "c"]
    assert header["event"] == [1, 4, 6]
    assert header["schedule"]["name"] == "vp"


def test_files_that_are_none_are_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no classifier at"):
        LabelCritic.load(tmp_path / "none.safetensors")
    path = tmp_path / "critic.safetensors"
    critic().save(path)
    state, metadata = read_tensors(path)
    first = next(iter(state))
    for tensors, header, sentence in (
        (state, {**metadata, "format": "unstir judge 1"}, "does not hold a classifier"),
        (state, {"format": metadata["format"]}, "it does not hold a whole classifier"),
        (state, {**metadata, "classifier": "{"}, "it does not hold a whole classifier"),
        ({k: v for k, v in state.items() if k != first}, metadata, "it does not hold a whole classifier"),
        (state | {first: state[first] * torch.nan}, metadata, "are not finite"),
        (
            state,
            {**metadata, "classifier": metadata["classifier"].replace('"width": 8', '"width": -8')},
            "width",
        ),
    ):
        write_tensors(path, tensors, header)
        with pytest.raises(ValueError, match=sentence):
            LabelCritic.load(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="it is damaged"):
        LabelCritic.load(path)


def test_what_it_does_not_know_is_one_sentence():
    made = critic()
    with pytest.raises(ValueError, match=r"knows events of shape \(1, 4, 6\), got \(1, 6, 4\)"):
        made.log_probabilities(X.mT, 0.5)
    with pytest.raises(ValueError, match="give the condition 'label'"):
        made(X, 0.5)
    for wrong in (3, -2):
        with pytest.raises(ValueError, match="knows the classes 0 to 2, got"):
            made(X, 0.5, label=torch.tensor([0, wrong, 1]))
