"""Our solvers inside diffusers' pipelines give what unstir.sample gives with the loaded network."""

import diffusers
import pytest
import torch

from tests.helpers import check_moments, close
from tests.interop import tiny
from unstir import noise
from unstir.guidance import ClassifierFree
from unstir.interop import UnstirScheduler, from_diffusers, grid_of
from unstir.samplers import DDIM, Heun, Multistep, sample

SOLVERS = {
    "multistep": "multistep",
    "order 1": Multistep(1),
    "order 2, no corrector": Multistep(2, corrector=False),
    "order 3": Multistep(3),
    "ddim": DDIM(),
}


def start(seed, channels=3):
    """The noise that a pipeline draws with this generator seed."""
    return torch.randn((2, channels, 8, 8), generator=torch.Generator().manual_seed(seed))


def images(x):
    return (x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)


def silent(pipeline):
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generator(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def pipeline():
    scheduler = diffusers.DDIMScheduler(prediction_type="v_prediction", clip_sample=False)
    return silent(diffusers.DDIMPipeline(tiny.unet(), scheduler))


@pytest.fixture
def denoiser(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path / "pipeline")
    return from_diffusers(tmp_path / "pipeline")


@torch.no_grad()
def run(scheduler, network, x, **options):
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, t).sample, t, x, **options).prev_sample
    return x


@pytest.mark.parametrize("name", list(SOLVERS))
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_pipeline_gives_the_images_of_sample(pipeline, denoiser, name, steps):
    solver = SOLVERS[name]
    pipeline.scheduler = UnstirScheduler.from_config(pipeline.scheduler.config, solver=solver)
    result = pipeline(
        batch_size=2, num_inference_steps=steps, generator=generator(3), output_type="np", eta=0.0
    ).images
    expected = sample(denoiser, x_T=start(3), steps=steps, solver=solver).x
    assert float(expected.std()) > 0.1
    close(torch.from_numpy(result), images(expected), atol=1e-5)


@pytest.mark.parametrize("name", list(SOLVERS))
def test_the_states_are_those_of_sample_also_where_images_are_clamped(pipeline, denoiser, name):
    scheduler = UnstirScheduler.from_config(pipeline.scheduler.config, solver=SOLVERS[name])
    scheduler.set_timesteps(9)
    x = start(0)
    expected = sample(denoiser, x_T=x, steps=9, solver=SOLVERS[name]).x
    for _ in range(2):  # a second run starts anew
        assert tiny.difference(run(scheduler, pipeline.unet, x), expected) < 1e-5


def test_ddim_on_the_timesteps_of_diffusers_is_diffusers_ddim(pipeline):
    theirs = pipeline.scheduler
    theirs.set_timesteps(10)
    ours = UnstirScheduler.from_config(theirs.config, solver="ddim")
    ours.set_timesteps(timesteps=theirs.timesteps)
    x = start(0)
    assert tiny.difference(run(ours, pipeline.unet, x), tiny.run(theirs, pipeline.unet, x)) < 1e-4
    close(ours.timesteps, theirs.timesteps)


def test_clipping_is_that_of_diffusers_ddpm_posterior():
    network, x = tiny.unet(), 3.0 * start(0)
    theirs = diffusers.DDIMScheduler(prediction_type="v_prediction", clip_sample=True, clip_sample_range=0.5)
    theirs.set_timesteps(4)
    ours = UnstirScheduler.from_config(theirs.config, solver="ddim")
    ours.set_timesteps(timesteps=theirs.timesteps)
    assert ours.config.clip_sample
    expected = x
    with torch.no_grad():
        for t in theirs.timesteps:
            output = network(expected, t).sample
            expected = theirs.step(output, t, expected, use_clipped_model_output=True).prev_sample
    clipped = run(ours, network, x)
    assert float(clipped.abs().max()) <= 0.5
    assert tiny.difference(clipped, expected) < 1e-4


def test_a_flow_matching_scheduler_is_replaced_by_its_own_process(tmp_path):
    network, x = tiny.unet(), start(0)
    theirs = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    network.save_pretrained(tmp_path)
    denoiser = from_diffusers(tmp_path, scheduler=theirs.config)
    ours = UnstirScheduler.from_config(theirs.config)
    ours.set_timesteps(6)
    assert ours.init_noise_sigma == 1.0
    assert tiny.difference(run(ours, network, x), sample(denoiser, x_T=x, steps=6).x) < 1e-5
    theirs.set_timesteps(6)
    euler = UnstirScheduler.from_config(theirs.config, solver="ddim")
    euler.set_timesteps(timesteps=theirs.timesteps)
    close(grid_of(theirs), grid_of_ours(euler), atol=1e-6)
    assert tiny.difference(run(euler, network, x), tiny.run(theirs, network, x)) < 1e-5


def grid_of_ours(scheduler):
    return torch.cat([scheduler.timesteps.double() / 1000, torch.zeros(1, dtype=torch.float64)])


def test_ancestral_noise_follows_the_generators_seed(pipeline, denoiser):
    silent(ddpm := diffusers.DDPMPipeline(pipeline.unet, pipeline.scheduler))
    ddpm.scheduler = UnstirScheduler.from_config(pipeline.scheduler.config, solver="ddpm")
    result = ddpm(batch_size=2, num_inference_steps=6, generator=generator(3), output_type="np").images
    expected = sample(denoiser, x_T=start(3), steps=6, solver="ddpm", seed=3).x
    close(torch.from_numpy(result), images(expected), atol=1e-5)


def test_with_a_list_of_generators_a_sample_does_not_depend_on_its_batch(pipeline):
    scheduler = UnstirScheduler.from_config(pipeline.scheduler.config, solver="ddpm")
    scheduler.set_timesteps(5)
    x, seeds = start(0), [11, 2**64 - 5]
    together = run(scheduler, pipeline.unet, x, generator=[generator(s) for s in seeds])
    for i, seed in enumerate(seeds):
        alone = run(scheduler, pipeline.unet, x[i : i + 1], generator=[generator(seed)])
        assert tiny.difference(together[i : i + 1], alone) < 1e-4


def test_a_transformer_pipeline_runs_with_guidance(tmp_path):
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKL(
        block_out_channels=(4,), norm_num_groups=2, sample_size=8, latent_channels=4
    ).eval()
    network = tiny.dit()
    theirs = diffusers.DDIMScheduler(clip_sample=False)
    pipeline = silent(diffusers.DiTPipeline(network, vae, theirs))
    pipeline.scheduler = UnstirScheduler.from_config(theirs.config)
    result = pipeline(
        [3, 700], guidance_scale=3.0, num_inference_steps=5, generator=generator(1), output_type="pt"
    )
    network.save_pretrained(tmp_path)
    guided = ClassifierFree(from_diffusers(tmp_path, scheduler=theirs.config), 2.0)
    label = torch.tensor([3, 700])
    latents = sample(guided, x_T=start(1, 4), steps=5, condition={"label": label}).x
    with torch.no_grad():
        expected = vae.decode(latents / vae.config.scaling_factor).sample
    close(result.images, (expected / 2 + 0.5).clamp(0, 1), atol=1e-4)


def test_a_run_may_start_in_the_middle(pipeline, denoiser):
    scheduler = UnstirScheduler.from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(8)
    x = start(0)
    expected = sample(denoiser, x_T=x, grid=scheduler.solver.default_grid(denoiser.schedule, 8)[3:]).x
    scheduler.step(x, scheduler.timesteps[0], x)
    with torch.no_grad():
        for t in scheduler.timesteps[3:]:
            (x,) = scheduler.step(pipeline.unet(x, t).sample, t, x, return_dict=False)
    assert tiny.difference(x, expected) < 1e-5


def test_half_precision_states_stay_half_precision():
    scheduler = UnstirScheduler()
    scheduler.set_timesteps(4)
    x = start(0).half()
    result = scheduler.step(x, scheduler.timesteps[0], x)
    assert result.prev_sample.dtype == result.pred_original_sample.dtype == torch.float16


def test_noise_is_added_as_the_forward_process_does():
    scheduler = UnstirScheduler(prediction_type="flow_prediction")
    z = noise.normal((3, 2000), seed=0, index=torch.arange(2), stream=noise.Stream.DATA)
    noisy = scheduler.add_noise(torch.ones_like(z), z, torch.tensor([250, 500]))
    for i, t in enumerate((0.25, 0.5)):
        check_moments(noisy[i], 1 - t, t**2)
    theirs = diffusers.DDIMScheduler()
    ours = UnstirScheduler.from_config(theirs.config)
    timesteps = torch.tensor([10, 900])
    x = torch.ones_like(z)
    close(ours.add_noise(x, z, timesteps), theirs.add_noise(x, z, timesteps), atol=1e-5)


def test_saved_and_loaded_it_is_the_same(pipeline, tmp_path):
    pipeline.scheduler = UnstirScheduler.from_config(
        pipeline.scheduler.config, solver="ddim", grid="trailing"
    )
    pipeline.save_pretrained(tmp_path)
    scheduler = UnstirScheduler.from_pretrained(tmp_path, subfolder="scheduler")
    assert scheduler.config.solver == "ddim"
    assert scheduler.process == pipeline.scheduler.process
    scheduler.set_timesteps(10)
    close(scheduler.timesteps, torch.arange(999, 0, -100), atol=1e-4)
    again = diffusers.DDPMPipeline.from_pretrained(tmp_path)
    assert isinstance(again.scheduler, UnstirScheduler)
    back = diffusers.DDIMScheduler.from_config(scheduler.config)
    assert back.config.prediction_type == "v_prediction"
    assert from_diffusers(tmp_path).schedule == scheduler.process.schedule


def test_a_solver_given_as_an_object_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="saved with its solver's name"):
        UnstirScheduler(solver=Multistep(3)).save_pretrained(tmp_path)


@pytest.mark.parametrize("solver", ["heun", "edm", Heun()])
def test_solvers_of_more_evaluations_a_step_are_refused(solver):
    with pytest.raises(ValueError, match="Heun evaluates the denoiser otherwise than once at the start"):
        UnstirScheduler(solver=solver)


def test_mistakes_are_one_sentence():
    scheduler = UnstirScheduler()
    x = start(0)
    with pytest.raises(ValueError, match="unknown solver 'multistp'; did you mean 'multistep'"):
        UnstirScheduler(solver="multistp")
    with pytest.raises(ValueError, match="thresholding is not supported"):
        UnstirScheduler(thresholding=True)
    with pytest.raises(ValueError, match="either num_inference_steps or timesteps"):
        scheduler.set_timesteps()
    with pytest.raises(ValueError, match="at least 1 step, got 0"):
        scheduler.set_timesteps(0)
    scheduler.set_timesteps(5)
    with pytest.raises(ValueError, match="timestep 333 is not on the grid"):
        scheduler.step(x, 333, x)
    with pytest.raises(ValueError, match=r"eta must be 0, got 0\.5"):
        scheduler.step(x, scheduler.timesteps[0], x, eta=0.5)
    with pytest.raises(ValueError, match="has no betas"):
        UnstirScheduler.from_config(diffusers.ScoreSdeVeScheduler().config)
