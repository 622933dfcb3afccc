"""Networks saved by diffusers give, as denoisers, the images that diffusers' own loop gives."""

import json
import subprocess
import sys

import diffusers
import pytest
import torch

from tests.helpers import close
from tests.interop import tiny
from unstir.files import read_tensors, write_tensors
from unstir.guidance import ClassifierFree
from unstir.interop import from_diffusers, grid_of
from unstir.model import load
from unstir.samplers import sample

DDIM = diffusers.DDIMScheduler
CASES = {
    "epsilon-linear": {},
    "epsilon-scaled": {"beta_schedule": "scaled_linear", "set_alpha_to_one": False, "steps_offset": 1},
    "epsilon-cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "sample-linear": {"prediction_type": "sample"},
    "v-scaled": {"beta_schedule": "scaled_linear", "prediction_type": "v_prediction"},
    "v-zero-snr": {
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    },
}


def saved(folder, network, scheduler, place="unet"):
    network.save_pretrained(folder / place)
    scheduler.save_pretrained(folder / "scheduler")
    return folder


def ddim(steps=10, **settings):
    scheduler = DDIM(clip_sample=False, **settings)
    scheduler.set_timesteps(steps)
    return scheduler


@pytest.mark.parametrize("name", list(CASES))
def test_a_unet_gives_the_image_of_diffusers_ddim(tmp_path, name):
    network, scheduler, x = tiny.unet(), ddim(**CASES[name]), tiny.start()
    denoiser = from_diffusers(saved(tmp_path, network, scheduler))
    ours = sample(denoiser, x_T=x, grid=grid_of(scheduler), solver="ddim").x
    assert tiny.difference(ours, tiny.run(scheduler, network, x)) < 1e-4


def test_what_differs_from_diffusers_is_its_table_in_float32(tmp_path):
    scheduler = ddim(
        beta_schedule="squaredcos_cap_v2", prediction_type="sample", set_alpha_to_one=False, steps_offset=1
    )
    network, x = tiny.unet(), tiny.start()
    denoiser = from_diffusers(saved(tmp_path, network, scheduler))
    ours = sample(denoiser, x_T=x, grid=grid_of(scheduler), solver="ddim").x
    rounded = tiny.difference(ours, tiny.run(scheduler, network, x))
    scheduler.alphas_cumprod = denoiser.schedule.alpha(torch.arange(1, 1001) / 1000.0) ** 2
    scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]
    exact = tiny.difference(ours, tiny.run(scheduler, network, x))
    assert exact < 1e-4 < rounded


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_matching_gives_the_image_of_diffusers_euler(tmp_path, shift):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    network, x = tiny.unet(), tiny.start()
    denoiser = from_diffusers(saved(tmp_path, network, scheduler))
    scheduler.set_timesteps(10)
    ours = sample(denoiser, x_T=x, grid=grid_of(scheduler), solver="ddim").x
    assert tiny.difference(ours, tiny.run(scheduler, network, x)) < 1e-5


def test_a_text_condition_reaches_the_network(tmp_path):
    network, scheduler, x = tiny.conditional_unet(), ddim(prediction_type="v_prediction"), tiny.start(4)
    text = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    folder = saved(tmp_path, network, scheduler)
    denoiser, grid = from_diffusers(folder), grid_of(scheduler)
    condition = {"encoder_hidden_states": text}
    ours = sample(denoiser, x_T=x, grid=grid, solver="ddim", condition=condition).x
    theirs = tiny.run(scheduler, network, x, encoder_hidden_states=text)
    assert tiny.difference(ours, theirs) < 1e-4
    other = sample(denoiser, x_T=x, grid=grid, solver="ddim", condition={"encoder_hidden_states": -text}).x
    assert tiny.difference(other, theirs) > 1e-2
    with pytest.raises(ValueError, match="needs the condition 'encoder_hidden_states'"):
        denoiser(x, 0.5)


def test_the_empty_prompt_stands_in_where_no_text_is_given(tmp_path):
    folder = saved(tmp_path, tiny.conditional_unet(), ddim())
    empty = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    denoiser, x = from_diffusers(folder, empty=empty), tiny.start(4)
    text = {"encoder_hidden_states": torch.ones(2, 5, 6)}
    without, with_text = denoiser(x, 0.5).mean, denoiser(x, 0.5, **text).mean
    close(without, denoiser(x, 0.5, encoder_hidden_states=empty.expand(2, 5, 6)).mean)
    guided = ClassifierFree(denoiser, 2.0)(x, 0.5, **text).mean
    close(guided, with_text + 2.0 * (with_text - without), rtol=1e-4, atol=1e-4)


def test_pooled_text_and_sizes_reach_a_network_that_takes_them(tmp_path):
    network = tiny.conditional_unet(
        addition_embed_type="text_time", addition_time_embed_dim=4, projection_class_embeddings_input_dim=32
    )
    denoiser = from_diffusers(saved(tmp_path, network, ddim()))
    x, text = tiny.start(4), torch.ones(2, 5, 6)
    added = {"text_embeds": torch.ones(2, 8), "time_ids": torch.ones(2, 6)}
    with torch.no_grad():
        ours = denoiser.epsilon(x, 0.5, encoder_hidden_states=text, **added)
        theirs = network(x, 499, encoder_hidden_states=text, added_cond_kwargs=added).sample
    assert tiny.difference(ours, theirs) < 1e-4
    with pytest.raises(ValueError, match="needs the condition 'text_embeds'"):
        denoiser(x, 0.5, encoder_hidden_states=text)


@pytest.mark.parametrize("learned", [True, False])
def test_a_transformer_with_classes_gives_the_image_of_diffusers_ddim(tmp_path, learned):
    network, scheduler, x = tiny.dit(learned), ddim(), tiny.start(4)
    label = torch.tensor([3, 700])
    denoiser = from_diffusers(saved(tmp_path, network, scheduler, "transformer"))
    ours = sample(denoiser, x_T=x, grid=grid_of(scheduler), solver="ddim", condition={"label": label}).x
    theirs = tiny.run(scheduler, network, x, channels=4, class_labels=label)
    assert tiny.difference(ours, theirs) < 1e-4


def test_no_label_is_the_transformers_class_after_the_last(tmp_path):
    network = tiny.dit()
    denoiser, x = from_diffusers(saved(tmp_path, network, ddim(), "transformer")), tiny.start(4)
    with torch.no_grad():
        none = network(x, torch.tensor([499, 499]), class_labels=torch.tensor([1000, 1000])).sample[:, :4]
    for condition in ({}, {"label": torch.tensor([-1, -1])}):
        assert tiny.difference(denoiser.epsilon(x, 0.5, **condition), none) < 1e-4


def test_a_unet_with_classes_needs_a_label(tmp_path):
    denoiser, x = from_diffusers(saved(tmp_path, tiny.unet(num_class_embeds=3), ddim())), tiny.start()
    first, second = (denoiser(x, 0.5, label=torch.full((2,), k)).mean for k in (0, 1))
    assert tiny.difference(first, second) > 1e-3
    with pytest.raises(ValueError, match="needs the condition 'label'"):
        denoiser(x, 0.5)


def test_a_learned_table_of_times_is_asked_for_whole_steps(tmp_path):
    network = tiny.unet(time_embedding_type="learned", num_train_timesteps=1000)
    denoiser, x = from_diffusers(saved(tmp_path, network, ddim())), tiny.start()
    close(denoiser.epsilon(x, 0.5002), network(x, 499).sample, rtol=1e-3, atol=1e-3)


def test_conditions_that_the_network_does_not_take_are_refused(tmp_path):
    denoiser = from_diffusers(saved(tmp_path, tiny.unet(), ddim()))
    with pytest.raises(ValueError, match="takes no condition 'label'; it takes none"):
        denoiser(tiny.start(), 0.5, label=torch.zeros(2))


def test_a_networks_own_folder_loads_with_its_scheduler_named(tmp_path):
    network, scheduler, x = tiny.unet(), ddim(prediction_type="sample"), tiny.start()
    network.save_pretrained(tmp_path / "network")
    with pytest.raises(ValueError, match="which says how the network was trained"):
        from_diffusers(tmp_path / "network")
    scheduler.save_pretrained(tmp_path / "elsewhere")
    file = tmp_path / "elsewhere" / "scheduler_config.json"
    with torch.no_grad():
        expected = network(x, 499).sample
    for named in (file, file.parent, json.loads(file.read_text())):
        close(from_diffusers(tmp_path / "network", scheduler=named)(x, 0.5).mean, expected, atol=1e-5)


def test_values_that_an_older_file_leaves_out_are_the_defaults_of_its_class(tmp_path):
    tiny.unet().save_pretrained(tmp_path)
    denoiser = from_diffusers(tmp_path, scheduler={"_class_name": "LCMScheduler"})
    full = from_diffusers(tmp_path, scheduler=diffusers.LCMScheduler().config)
    assert denoiser.schedule == full.schedule
    assert denoiser.schedule.betas[0] == pytest.approx(0.00085)


def test_half_precision_weights_serve_float32_states(tmp_path):
    folder = saved(tmp_path, tiny.unet(), ddim(prediction_type="sample"))
    x = tiny.start()
    half = from_diffusers(folder, dtype=torch.bfloat16)(x, 0.5).mean
    assert half.dtype == torch.float32
    assert tiny.difference(half, from_diffusers(folder)(x, 0.5).mean) < 0.1


def test_pickled_weights_are_refused(tmp_path):
    tiny.unet().save_pretrained(tmp_path, safe_serialization=False)
    ddim().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"pickled weights \(.bin\) can run code and are not read"):
        from_diffusers(tmp_path)


def test_weights_that_lack_some_of_the_networks_are_refused(tmp_path):
    ddim().save_pretrained(tmp_path)
    tiny.unet().save_pretrained(tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    tensors, _ = read_tensors(file)
    del tensors["conv_out.bias"]
    write_tensors(file, tensors, {"format": "pt"})
    with pytest.raises(ValueError, match=r"lack 1 that the network has, such as conv_out\.bias"):
        from_diffusers(tmp_path)


def test_other_folders_and_networks_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        from_diffusers(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no network of diffusers"):
        from_diffusers(tmp_path)
    ddim().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"_class_name": "UNet1DModel"}')
    with pytest.raises(ValueError, match=r"network 'UNet1DModel' .* did you mean 'UNet2DModel'"):
        from_diffusers(tmp_path)


def test_load_says_who_reads_a_pipeline_of_diffusers(tmp_path):
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(ValueError, match=r"load it with unstir\.from_diffusers"):
        load(tmp_path)


def test_without_diffusers_one_sentence_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['diffusers'] = None\n"
        "import unstir\n"
        f"try: unstir.from_diffusers({str(tmp_path)!r})\n"
        "except ImportError as error: print(error)\n"
        "try: unstir.interop.UnstirScheduler\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == 2 * [
        "this needs diffusers; install it with pip install 'unstir[diffusers]'"
    ]


def test_importing_the_room_does_not_import_diffusers():
    code = "import sys, unstir, unstir.interop; unstir.from_diffusers; print('diffusers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
