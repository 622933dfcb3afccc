"""Digits from scratch in equal wall-clock time: unstir, denoising-diffusion-pytorch and diffusers.

Run: python benchmarks/peers.py [--seconds 90] [--repeats 3] [--out FILE.json] [--env FOLDER]

The first start builds an environment of its own (about 1 GB with the CPU build of torch; where pip would
take another build, set PIP_INDEX_URL or PIP_FIND_LINKS as for any installation), then the script goes on
inside it. All libraries learn the same unlabelled 8 x 8 digits, one after the other on two threads. What is
done for the peers:

- Each has two rows: "defaults" (batch 16 and learning rate 1e-4, as its own trainer or example) and "tuned",
  the best training of `TUNED`, chosen by its result. unstir runs its recipe as it is, which was tuned for
  these digits.
- Each is sampled by its samplers in `SAMPLERS`, the 1,000 steps of DDPM included; the best one counts.
  unstir uses the recipe's.
- Networks are matched by number of parameters, laid out `channels_last` (faster on CPU) and fed from memory;
  nothing but training runs on their clock. unstir's clock includes its log, previews and checkpoints.

It takes about an hour and a half; keep the machine quiet meanwhile: with two threads on two cores, any other
work slows each library by another factor.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import types
import venv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent
PEERS = (
    "denoising-diffusion-pytorch==2.3.4",
    "diffusers==0.42.1",
    # What these two need beyond unstir's own needs. torchvision is stood in for, pytorch-fid is not used.
    "einops==0.8.2",
    "ema-pytorch==0.8.3",
    "importlib-metadata==10.2.0",
    "regex==2026.11.15",
    "zipp==4.1.2",
)
CHUNK = 256  # samples drawn at once, for all libraries


@dataclass(frozen=True)
class Training:
    """How a library is trained."""

    library: str
    row: str
    batch: int = 16
    learning_rate: float = 1e-4
    size: float = 1.0  # parameters of the network in units of unstir's
    warm_up: int = 500  # steps; diffusers only


@dataclass
class Trained:
    """What came of it; a sampler draws n samples in data units and says how many evaluations each took."""

    parameters: int
    steps: int
    seconds: float
    samplers: dict[str, Callable[[int], tuple[Tensor, int]]]


@dataclass(frozen=True)
class Task:
    """What is the same for all: settings of the recipe, unlabelled data, budget, figures."""

    settings: Any
    splits: Any
    seconds: float
    samples: int
    ancestral: bool
    features: dict[str, Any] = field(repr=False)
    train: Tensor = field(repr=False)
    heldout: Tensor = field(repr=False)

    @property
    def parameters(self) -> int:
        from unstir.recipes.run import build_model

        return count(build_model(self.settings, self.splits).denoiser)


TUNED = ((128, 2e-3, 1.0), (32, 1e-3, 1.0), (128, 4e-3, 1.0), (128, 1e-3, 1.0), (128, 2e-3, 0.5))
GRID = {
    library: [Training(library, "tuned", *values, warm_up=100) for values in TUNED]
    for library in ("denoising-diffusion-pytorch", "diffusers")
}
SAMPLERS = {
    "denoising-diffusion-pytorch": {"DDIM": 50, "DDPM": 1000},
    "diffusers": {"DPM-Solver++": 25, "DDIM": 50, "DDPM": 1000},
}
SLOW = "DDPM 1000"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=90.0, help="of training, each")
    parser.add_argument("--repeats", type=int, default=3, help="seeds; medians are shown")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tuned", type=int, default=len(TUNED), help="settings tried for the peers")
    parser.add_argument("--no-ancestral", action="store_true", help="leave out the peers' 1,000-step sampler")
    parser.add_argument("--out", type=Path, help="JSON; the tables go beside it with the suffix .md")
    parser.add_argument("--env", type=Path, default=ROOT / "benchmarks" / ".peers-env")
    options = parser.parse_args()
    enter_environment(options.env.resolve())
    result = compare(options)
    text = report(result)
    print("\n" + text)
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")
        options.out.with_suffix(".md").write_text(text)


def enter_environment(folder: Path) -> None:
    """Build the environment unless it is there, and run this script again inside it."""
    if Path(sys.prefix).resolve() == folder:
        return
    python, stamp, wanted = folder / "bin" / "python", folder / "installed.txt", "\n".join(PEERS)
    if not stamp.is_file() or stamp.read_text() != wanted:
        print(f"building {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        pinned = ["-c", str(ROOT / "constraints.txt")]
        subprocess.run([*pip, "torch", *pinned], check=True)  # first and pinned: which build pip takes
        subprocess.run([*pip, "-e", str(ROOT), *pinned], check=True)
        subprocess.run([*pip, "--no-deps", *PEERS], check=True)
        stamp.write_text(wanted)
    os.execv(python, [str(python), str(Path(__file__).resolve()), *sys.argv[1:]])


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """All measurements, and what they were measured against."""
    import torch

    torch.set_num_threads(options.threads)
    task = prepare(options)
    recipe = task.settings.training
    rows = run([Training("unstir", "recipe", recipe.batch, recipe.learning_rate)], task, options.repeats)
    for library, grid in GRID.items():
        rows += run([Training(library, "defaults")], task, options.repeats)
        rows += run(grid[: options.tuned], task, options.repeats)
    reference = {name: frechet(task.heldout, task, name) for name in task.features}
    about = {
        "seconds": options.seconds,
        "samples": options.samples,
        "threads": options.threads,
        "cores": os.cpu_count(),
        "load_at_end": round(os.getloadavg()[0], 2),
        "packages": [*PEERS[:2], f"torch=={torch.__version__}"],
    }
    return {"about": about, "heldout": reference, "rows": rows}


def prepare(options: argparse.Namespace) -> Task:
    """Load the data, train the judge on labels, then drop the labels."""
    from unstir.evaluation import PCAFeatures, train_judge
    from unstir.recipes import find_recipe, load_data
    from unstir.recipes.assess import data_units, labels_of

    settings = find_recipe("digits")
    splits = load_data(settings.data)
    train, heldout = data_units(splits.train), data_units(splits.heldout)
    labels = labels_of(splits.train), labels_of(splits.heldout)
    judge = train_judge(train, labels[0], heldout, labels[1], classes=len(splits.classes))
    features = {"pca": PCAFeatures.fit(train), "judge": judge}
    splits = replace(
        splits,
        train=replace(splits.train, labels=None),
        heldout=replace(splits.heldout, labels=None),
        classes=(),
    )
    ancestral = not options.no_ancestral
    return Task(settings, splits, options.seconds, options.samples, ancestral, features, train, heldout)


def run(trainings: Sequence[Training], task: Task, repeats: int) -> list[dict[str, Any]]:
    """Every training and sampler with the first seed; the best pair is chosen and goes on to the others.

    Best is the least distance in the judge's features. The slow sampler is tried with the best training only.
    """
    tried = []
    for training in trainings:
        trained = train(training, 0, task)
        names = [name for name in trained.samplers if name != SLOW]
        tried.append((training, trained, [measure(training, trained, 0, name, task) for name in names]))
    training, trained, rows = min(tried, key=lambda entry: min(row["judge"] for row in entry[2]))
    if task.ancestral and SLOW in trained.samplers:
        rows.append(measure(training, trained, 0, SLOW, task))
    best = min(rows, key=lambda row: row["judge"])
    best["chosen"] = True
    result = [row for entry in tried for row in entry[2]]
    for seed in range(1, repeats):
        row = measure(training, train(training, seed, task), seed, best["sampler"], task)
        result.append(row | {"chosen": True})
    return result


def train(training: Training, seed: int, task: Task) -> Trained:
    import torch

    torch.manual_seed(seed)
    return TRAINERS[training.library](training, seed, task)


def measure(training: Training, trained: Trained, seed: int, sampler: str, task: Task) -> dict[str, Any]:
    """Draw samples and judge them."""
    import torch

    torch.manual_seed(seed)
    started = time.perf_counter()
    x, nfe = trained.samplers[sampler](task.samples)
    row = asdict(training) | {"seed": seed, "sampler": sampler, "nfe": nfe, "chosen": False}
    row |= {"sampling_seconds": round(time.perf_counter() - started, 2), "steps": trained.steps}
    row |= {"parameters": trained.parameters, "training_seconds": round(trained.seconds, 2)}
    row |= {feature: frechet(x, task, feature) for feature in task.features}
    row |= {f"{feature}_all": frechet(x, task, feature, matched=False) for feature in task.features}
    row["nearest"] = nearest_ratio(x, task)
    shown = ", ".join(f"{key} {row[key]:.4g}" for key in COLUMNS)
    print(
        f"{training.library} ({describe(row)}), seed {seed}, {sampler}: {shown}", file=sys.stderr, flush=True
    )
    return row


def frechet(x: Tensor, task: Task, name: str, *, matched: bool = True) -> float:
    """Fréchet distance to the training data; matched: mean over pieces of the held-out split's size.

    The distance of a smaller set is larger, so only sets of one size may be compared.
    """
    from unstir.evaluation import frechet_distance

    features, size = task.features[name].features, len(task.heldout)
    pieces = [x[i : i + size] for i in range(0, len(x) - size + 1, size)] if matched else []
    reference = features(task.train)
    return statistics.mean(frechet_distance(features(piece), reference) for piece in pieces or [x])


def nearest_ratio(x: Tensor, task: Task) -> float:
    """Distance to the nearest training sample in units of held-out data's: far below 1 means copies."""
    from unstir.evaluation import nearest_points

    return float(nearest_points(x, task.train)[0].mean() / nearest_points(task.heldout, task.train)[0].mean())


# The libraries


def train_unstir(training: Training, seed: int, task: Task) -> Trained:
    """The recipe as `unstir train digits` runs it, without labels."""
    from unstir.recipes.run import train_run
    from unstir.settings import parse_settings

    values = task.settings.model_dump(mode="json")
    values["training"] |= {"seconds": task.seconds, "samples": None, "seed": seed}
    settings = parse_settings(type(task.settings), values)
    with tempfile.TemporaryDirectory() as folder:
        outcome = train_run(settings, Path(folder), splits=task.splits)
    if not outcome.finished:
        raise KeyboardInterrupt  # train_run ends in good order where a measurement must not count

    def draw(n: int) -> tuple[Tensor, int]:
        solution = outcome.model.solve(n, seed=seed, batch=CHUNK)
        return solution.x, solution.nfe

    steps = outcome.samples // settings.training.batch
    name = f"{settings.sampling.solver} {settings.sampling.steps}"
    return Trained(count(outcome.model.denoiser), steps, outcome.seconds, {name: draw})


def train_lucidrains(training: Training, seed: int, task: Task) -> Trained:
    """Its own GaussianDiffusion, Trainer.train loop, Adam and EMA, on PNG files as its Trainer wants them.

    Off are what does not train or would harm: mirrored digits, FID, sample sheets. Its Dataset reads the
    files, but once, not in each epoch anew.
    """
    with without_torchvision():
        from denoising_diffusion_pytorch import GaussianDiffusion, Trainer, Unet
    import torch

    multipliers = tuple(task.settings.network.multipliers)
    unet = matched_network(
        lambda width: Unet(width, dim_mults=multipliers, channels=1), range(8, 129, 2), training, task
    )
    diffusion = GaussianDiffusion(unet, image_size=task.train.shape[-1])
    with tempfile.TemporaryDirectory() as folder:
        write_pngs(task, Path(folder))
        trainer = Trainer(
            diffusion,
            folder,
            train_batch_size=training.batch,
            train_lr=training.learning_rate,
            augment_horizontal_flip=False,
            calculate_fid=False,
            train_num_steps=10**9,
            save_and_sample_every=10**9,
            results_folder=str(Path(folder) / "results"),
        )
        images = torch.stack([trainer.ds[i] for i in range(len(trainer.ds))])
    clock = Clock(task.seconds)
    trainer.dl = clock.batches(images, training.batch)
    with contextlib.suppress(StopIteration), contextlib.redirect_stderr(io.StringIO()):
        trainer.train()
    seconds, model = clock.elapsed, trainer.ema.ema_model.eval()

    def draw(n: int, steps: int) -> Tensor:
        model.sampling_timesteps, model.is_ddim_sampling = steps, steps < model.num_timesteps
        with contextlib.redirect_stderr(io.StringIO()):
            return in_chunks(n, model.sample) * 2 - 1

    return Trained(count(unet), trainer.step, seconds, sampler_table(training, task, lambda _: draw))


def write_pngs(task: Task, folder: Path) -> None:
    from PIL import Image

    low, high = task.splits.bounds
    pixels = ((task.train[:, 0] - low) / (high - low) * 255).round().byte().numpy()
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{index:05d}.png")


@contextlib.contextmanager
def without_torchvision() -> Iterator[None]:
    """The few transforms that denoising-diffusion-pytorch imports, for as long as it does."""
    import numpy as np
    import torch

    def compose(steps: Sequence[Callable[[Any], Any]]) -> Callable[[Any], Any]:
        def run(x: Any) -> Any:
            for step in steps:
                x = step(x)
            return x

        return run

    def keep(size: Sequence[int]) -> Callable[[Any], Any]:
        def check(image: Any) -> Any:
            assert image.size == tuple(size), f"stands in for images of the right size only, got {image.size}"
            return image

        return check

    def tensor(image: Any) -> Tensor:
        return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255.0)[None]

    transforms, utils = types.ModuleType("torchvision.transforms"), types.ModuleType("torchvision.utils")
    transforms.__dict__.update(Compose=compose, Lambda=lambda f: f, Resize=keep, CenterCrop=keep)
    transforms.__dict__.update(ToTensor=lambda: tensor)
    package = types.ModuleType("torchvision")
    package.__dict__.update(transforms=transforms, utils=utils)
    before = sys.modules.get("torchvision")
    sys.modules["torchvision"] = package
    try:
        yield
    finally:
        del sys.modules["torchvision"]
        if before is not None:
            sys.modules["torchvision"] = before


def train_diffusers(training: Training, seed: int, task: Task) -> Trained:
    """As its example of unconditional training: AdamW, cosine rate after a warm-up, clipping, EMA.

    The example's cosine runs over a number of steps that equal time does not know: here over the time.
    """
    import torch
    from diffusers import DDPMScheduler
    from diffusers.training_utils import EMAModel

    unet = matched_network(lambda width: hugging_face_unet(width, task), range(8, 129, 4), training, task)
    schedule = DDPMScheduler(num_train_timesteps=1000)
    options: dict[str, Any] = {"betas": (0.95, 0.999), "weight_decay": 1e-6, "eps": 1e-8}
    optimizer = torch.optim.AdamW(unet.parameters(), lr=training.learning_rate, **options)
    ema = EMAModel(unet.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)
    images = task.splits.train.batch(slice(None))[0]
    clock, steps = Clock(task.seconds), 0
    for x in clock.batches(images, training.batch):
        rise = min(1.0, (steps + 1) / training.warm_up)
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * clock.fraction))
        noise, t = torch.randn_like(x), torch.randint(0, 1000, (len(x),))
        loss = torch.nn.functional.mse_loss(unet(schedule.add_noise(x, noise, t), t).sample, noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        ema.step(unet.parameters())
        steps += 1
    seconds = clock.elapsed
    ema.copy_to(unet.parameters())
    unet.eval()
    samplers = sampler_table(training, task, lambda name: hugging_face_sampler(name, unet, schedule, task))
    return Trained(count(unet), steps, seconds, samplers)


def hugging_face_unet(width: int, task: Task) -> nn.Module:
    """Levels and blocks as in the recipe, attention in the last but one as in diffusers' example."""
    from diffusers import UNet2DModel

    network = task.settings.network
    levels = len(network.multipliers)
    down = ["AttnDownBlock2D" if i == levels - 2 else "DownBlock2D" for i in range(levels)]
    return UNet2DModel(
        sample_size=task.train.shape[-1],
        in_channels=1,
        out_channels=1,
        layers_per_block=network.blocks,
        block_out_channels=tuple(width * m for m in network.multipliers),
        down_block_types=tuple(down),
        up_block_types=tuple(name.replace("Down", "Up") for name in reversed(down)),
        norm_num_groups=4,
    )


def hugging_face_sampler(
    name: str, unet: nn.Module, schedule: Any, task: Task
) -> Callable[[int, int], Tensor]:
    """Draw as diffusers' pipelines do."""
    import torch
    from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

    kinds = {"DPM-Solver++": DPMSolverMultistepScheduler, "DDIM": DDIMScheduler, "DDPM": DDPMScheduler}
    scheduler = kinds[name].from_config(schedule.config)

    @torch.no_grad()
    def draw_chunk(n: int) -> Tensor:
        x = torch.randn(n, *task.train.shape[1:]) * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            x = scheduler.step(unet(x, t).sample, t, x).prev_sample
        return x

    def draw_piece(n: int, steps: int) -> Tensor:
        scheduler.set_timesteps(steps)  # also forgets the history of a multistep solver
        return draw_chunk(n)

    return lambda n, steps: in_chunks(n, lambda k: draw_piece(k, steps))


TRAINERS: dict[str, Callable[[Training, int, Task], Trained]] = {
    "unstir": train_unstir,
    "denoising-diffusion-pytorch": train_lucidrains,
    "diffusers": train_diffusers,
}


# What both peers use


class Clock:
    """A budget of seconds that begins with the first batch."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.started = time.monotonic()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    @property
    def fraction(self) -> float:
        return min(1.0, self.elapsed / self.seconds)

    def batches(self, x: Tensor, size: int) -> Iterator[Tensor]:
        """Batches in a new order each epoch until the time is over."""
        import torch

        self.started = time.monotonic()
        while True:
            for rows in torch.randperm(len(x)).split(size):
                if self.fraction >= 1.0:
                    return
                yield x[rows]


def matched_network(
    build: Callable[[int], nn.Module], widths: Sequence[int], training: Training, task: Task
) -> nn.Module:
    """The network whose number of parameters is nearest to the wanted one, laid out for CPU convolutions."""
    import torch

    target = training.size * task.parameters
    with torch.random.fork_rng():
        width = min(widths, key=lambda w: abs(math.log(count(build(w)) / target)))
    return build(width).to(memory_format=torch.channels_last)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def in_chunks(n: int, draw: Callable[[int], Tensor]) -> Tensor:
    import torch

    return torch.cat([draw(min(CHUNK, n - start)) for start in range(0, n, CHUNK)])


def sampler_table(
    training: Training, task: Task, draw: Callable[[str], Callable[[int, int], Tensor]]
) -> dict[str, Callable[[int], tuple[Tensor, int]]]:
    """A library's samplers by name; ``draw(name)(n, steps)`` gives samples in [-1, 1]."""

    def sampler(name: str, steps: int) -> Callable[[int], tuple[Tensor, int]]:
        def run(n: int) -> tuple[Tensor, int]:
            # What diverged shows as a large distance, not as the end of all measurements.
            x = draw(name)(n, steps).nan_to_num().contiguous().clamp(-1.0, 1.0)
            return task.splits.train.scaling.to_data(x), steps

        return run

    return {f"{name} {steps}": sampler(name, steps) for name, steps in SAMPLERS[training.library].items()}


# The tables

COLUMNS = ("pca", "judge", "nearest", "steps", "parameters", "nfe", "sampling_seconds")


def report(result: dict[str, Any]) -> str:
    """Markdown: medians of the chosen trainings and samplers, then every measurement."""
    about, rows = result["about"], result["rows"]
    chosen: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if row["chosen"]:
            chosen.setdefault((row["library"], row["row"]), []).append(row)
    lines = []
    for (library, name), group in chosen.items():
        medians = {key: statistics.median(row[key] for row in group) for key in COLUMNS}
        lines.append([library, f"{name} ({describe(group[0])})", group[0]["sampler"], *cells(medians)])
    lines.append(["held-out data", "", "", *cells(result["heldout"] | {"nearest": 1.0})])
    every = [
        [row["library"], row["row"], describe(row), str(row["seed"]), row["sampler"], *cells(row)]
        for row in rows
    ]
    text = f"Medians of {len({row['seed'] for row in rows})} seeds, {about['seconds']:g} s of training each, "
    text += f"{about['threads']} threads, {about['samples']} samples; {', '.join(about['packages'])}.\n"
    text += "pca, judge: Fréchet distance to the training data in these features (lower is better; the last "
    text += "line is what fresh data score); nearest: distance to the nearest training sample over that of "
    text += "held-out data (1 is like fresh data); nfe: network evaluations a sample.\n\n"
    text += table(["library", "training", "sampler", *COLUMNS], lines)
    heads = ["library", "row", "training", "seed", "sampler", *COLUMNS]
    return text + "\nEvery measurement:\n\n" + table(heads, every)


def describe(row: dict[str, Any]) -> str:
    return f"batch {row['batch']}, rate {row['learning_rate']:g}, size {row['size']:g}"


def cells(row: dict[str, Any]) -> list[str]:
    def cell(value: Any) -> str:
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"

    return [cell(row[key]) if key in row else "" for key in COLUMNS]


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


if __name__ == "__main__":
    main()
