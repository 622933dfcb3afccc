"""The training loop: a generator that yields after every step.

Progress is counted in samples seen. Sample n of a run has its own row of the data, noise, time and
condition dropout, computed from (seed, n) alone; so batches may be cut and spread over devices in any way
(masks of dropout layers are drawn a piece at a time, and do depend on the cut), and a run that was killed and
resumed goes on as if nothing had happened.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unstir import noise
from unstir.denoisers import Network
from unstir.training.build import build_noise_levels, build_objective
from unstir.training.checkpoint import Checkpoint, drop_damaged, load_newest, save_checkpoint
from unstir.training.data import ArrayData, drop_at_random
from unstir.training.ema import PowerEMA, reconstruct
from unstir.training.objective import mean_loss
from unstir.training.settings import TrainingSettings


@dataclass(frozen=True)
class Progress:
    """What a step reports.

    Attributes:
        samples: samples seen so far.
        fraction: share of the budget that is used up, 0 to 1.
        loss: mean loss of this step's batch on this process, a detached scalar tensor.
        learning_rate: used in this step.
        seconds: wall-clock time of the run so far, earlier parts of a resumed run included.
    """

    samples: int
    fraction: float
    loss: Tensor
    learning_rate: float
    seconds: float


def train(
    denoiser: Network, data: ArrayData, settings: TrainingSettings, folder: Path | None = None
) -> Iterator[Progress]:
    """Train a network in place; iterate to run.

    At the end the network holds the average of width ``settings.ema_width``.

    Args:
        denoiser: its module's parameters are trained.
        data: the training split.
        settings: budget, optimizer, objective.
        folder: where checkpoints go; None for no checkpoints.

    Raises:
        FloatingPointError: if the loss is not finite, naming the sample and the noise level.
    """
    trainer = Trainer(denoiser, data, settings, folder)
    yield from trainer.run()
    trainer.finish()


def rate_factor(fraction: float, warm_up: float, decay: str) -> float:
    """The learning rate's factor at a share of the budget: rises over ``warm_up``, then decays to 0."""
    rise = min(1.0, (fraction + 1e-3) / warm_up) if warm_up > 0 else 1.0
    left = min(1.0, max(0.0, (1.0 - fraction) / (1.0 - warm_up))) if warm_up < 1 else 1.0
    fall = {"linear": left, "cosine": 0.5 - 0.5 * math.cos(math.pi * left), "none": 1.0}[decay]
    return rise * fall


class Trainer:
    """The state of a run and the loop that advances it; `train` is the short form.

    Args:
        denoiser: its module's parameters are trained in place.
        data: the training split.
        settings: budget, optimizer, objective.
        folder: the run's folder, for checkpoints; None for none.

    Raises:
        ValueError: if the batch cannot be split over the processes and micro-batches.
    """

    def __init__(
        self, denoiser: Network, data: ArrayData, settings: TrainingSettings, folder: Path | None = None
    ) -> None:
        self.denoiser, self.data, self.settings, self.folder = denoiser, data, settings, folder
        self.accelerator = _accelerator(settings.precision)
        if str(self.accelerator.distributed_type).endswith("FSDP"):
            raise ValueError(
                "training is distributed by DDP; FSDP would need sharded averages and checkpoints"
            )
        if settings.ema_width is not None and settings.ema_width not in settings.ema and folder is None:
            raise ValueError(
                "an average that is not tracked is reconstructed from a folder's snapshots; give one"
            )
        self.pieces = settings.micro_batches * self.accelerator.num_processes
        if settings.batch % self.pieces:
            raise ValueError(
                f"a batch of {settings.batch} cannot be split over {self.accelerator.num_processes} "
                f"processes of {settings.micro_batches} micro-batches each; choose a multiple"
            )
        self.objective = build_objective(settings.objective, denoiser)
        self.levels = build_noise_levels(settings.noise_levels, whole=settings.objective.kind != "simple")
        denoiser.to(self.accelerator.device)
        self.ema = PowerEMA(denoiser.module, settings.ema)
        optimizer = torch.optim.AdamW(
            denoiser.module.parameters(),
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=self.accelerator.device.type in ("cpu", "cuda"),
        )
        self.model, self.optimizer = self.accelerator.prepare(denoiser, optimizer)
        self.samples = 0
        self.seconds_before = 0.0
        self.started = time.monotonic()
        self.observed: list[tuple[Tensor, Tensor]] = []
        self.order: tuple[int, Tensor] = (-1, torch.empty(0))
        self.has_dropout = any(isinstance(m, nn.Dropout) and m.p > 0 for m in denoiser.modules())

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of the run, earlier parts included."""
        return self.seconds_before + time.monotonic() - self.started

    def fraction(self) -> float:
        """The share of the budget used up, the same on all processes."""
        s = self.settings
        by_samples = self.samples / s.samples if s.samples else 0.0
        by_time = self.seconds / s.seconds if s.seconds else 0.0
        if s.seconds and self.accelerator.num_processes > 1:
            from accelerate.utils import broadcast

            shared = broadcast(torch.tensor([by_time], device=self.accelerator.device))
            by_time = float(shared[0])
        return min(1.0, max(by_samples, by_time))

    def agree(self, stop: bool) -> bool:
        """Whether any of the processes wants to stop, the same answer on all."""
        if self.accelerator.num_processes == 1:
            return stop
        wishes = self.accelerator.gather(torch.tensor([int(stop)], device=self.accelerator.device))
        return bool(wishes.any())

    def run(self) -> Iterator[Progress]:
        """Train until the budget is used up, yielding after every step, checkpointing now and then."""
        s = self.settings
        saved_at, saved_when, stored = self.samples, self.seconds, self._snapshot_number(self.fraction())
        self.model.train()
        while (fraction := self.fraction()) < 1.0:
            rate = s.learning_rate * rate_factor(fraction, s.warm_up, s.decay)
            loss = self._step(rate)
            fraction = self.fraction()
            if self.folder and (number := self._snapshot_number(fraction)) > stored:
                stored = number
                if self.accelerator.is_main_process:
                    self.ema.snapshot(self.folder / "ema", self.samples)
            due = self.seconds - saved_when >= s.checkpoint_seconds
            if s.checkpoint_samples is not None:
                due = self.samples - saved_at >= s.checkpoint_samples
            if due and fraction < 1.0:
                self.save()
                saved_at, saved_when = self.samples, self.seconds
            yield Progress(self.samples, fraction, loss, rate, self.seconds)

    def finish(self) -> None:
        """Save, then give the network the averaged weights of width ``ema_width``."""
        self.save()
        if self.settings.ema_width is not None and self.samples:
            self.denoiser.module.load_state_dict(self._average(self.settings.ema_width), strict=False)
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)  # takes autocast off again
        self.denoiser.eval()

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """For a look on the way: the network with the first tracked average, then as it was."""
        if not self.ema.widths or not self.samples:
            yield
            return
        kept = {name: p.detach().clone() for name, p in self.denoiser.module.named_parameters()}
        self.denoiser.module.load_state_dict(self.ema.state(0), strict=False)
        self.denoiser.eval()
        try:
            yield
        finally:
            self.denoiser.module.load_state_dict(kept, strict=False)
            self.denoiser.train()

    def _average(self, width: float) -> dict[str, Tensor]:
        """The average of a width: tracked, or reconstructed from snapshots."""
        distance = [abs(tracked - width) for tracked in self.ema.widths]
        if distance and min(distance) < 1e-9:
            return self.ema.state(distance.index(min(distance)))
        if self.folder is None or not self.settings.snapshots:
            raise ValueError(
                f"an average of width {width} is neither tracked (training.ema) nor can it be "
                "reconstructed: set training.snapshots"
            )
        if distance and not list((self.folder / "ema").glob("*.safetensors")):
            return self.ema.state(distance.index(min(distance)))  # stopped before the first snapshot
        return reconstruct(self.folder / "ema", width)

    def _step(self, rate: float) -> Tensor:
        s = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        size = s.batch // self.pieces
        total = torch.zeros((), device=self.accelerator.device)
        for piece in range(s.micro_batches):
            last = piece == s.micro_batches - 1
            start = self.samples + (piece * self.accelerator.num_processes) * size
            start += self.accelerator.process_index * size
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model):
                loss = self._loss(torch.arange(start, start + size)) / s.micro_batches
                self.accelerator.backward(loss)
            total += loss.detach()
        if s.clip is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), s.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        # Only now, so that all pieces of a batch are drawn from one density.
        for u, losses in self.observed:
            self.levels.observe(u, losses)
        self.observed.clear()
        self.samples += s.batch
        self.ema.update(self.denoiser.module.parameters(), self.samples, s.batch)
        return total

    def _loss(self, index: Tensor) -> Tensor:
        """The mean loss of the samples of these numbers."""
        s, device, schedule = self.settings, self.accelerator.device, self.denoiser.schedule
        x_0, condition = self._rows(index)
        x_0 = x_0.to(device, non_blocking=True)
        condition = {name: value.to(device) for name, value in condition.items()}
        index = index.to(device)
        t, weights, u = self.levels.draw(schedule, seed=s.seed, index=index)
        epsilon = noise.normal(
            x_0.shape[1:], seed=s.seed, index=index, stream=noise.Stream.TRAIN_NOISE, dtype=x_0.dtype
        )
        with self._dropout(int(index[0])):
            losses = self.objective.losses(self.model, schedule, x_0, epsilon, t, condition)
        if device.type == "cpu" or self.samples % (32 * s.batch) == 0:
            self._check_finite(losses, index, t)
        if s.noise_levels.loss_aware:
            self.observed.append((self.accelerator.gather(u), self.accelerator.gather(losses.detach())))
        return mean_loss(losses, weights)

    def _rows(self, index: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The data of the samples of these numbers: each epoch is a new permutation of the rows."""
        n, s = len(self.data), self.settings
        rows = torch.empty_like(index)
        for epoch in torch.unique(index // n).tolist():
            if self.order[0] != epoch:
                order = noise.permutation(n, seed=s.seed, stream=noise.Stream.DATA, step=epoch % 2**24)
                self.order = (epoch, order)
            inside = index // n == epoch
            rows[inside] = self.order[1][index[inside] % n]
        x, condition = self.data.batch(rows)
        named = self.data.conditions
        draws = noise.uniform((2 + len(named),), seed=s.seed, index=index, stream=noise.Stream.TRAIN_DROP)
        drops = torch.cat([draws[:, :1], draws[:, 2:]], dim=1)
        condition = drop_at_random(self.data, condition, drops, s.drop_condition)
        if self.data.flip:
            mirrored = draws[:, 1] < 0.5
            x = _mirror(x, mirrored)
            beside = [name for name, c in named.items() if c.how == "channels"]
            condition |= {name: _mirror(condition[name], mirrored) for name in beside}
        return x, condition

    @contextlib.contextmanager
    def _dropout(self, first: int) -> Iterator[None]:
        """Dropout masks that depend on the sample counter, and leave the global generator as it was."""
        if not self.has_dropout:
            yield
            return
        devices = [self.accelerator.device] if self.accelerator.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed((self.settings.seed * 0x9E3779B9 + first) % 2**63)
            yield

    def _check_finite(self, losses: Tensor, index: Tensor, t: Tensor) -> None:
        bad = (~torch.isfinite(losses)).nonzero().flatten()
        if len(bad) == 0:
            return
        where = int(bad[0])
        log_snr = float(self.denoiser.schedule.log_snr(t[where]))
        raise FloatingPointError(
            f"the loss is not finite at sample {int(index[where])} (log-SNR {log_snr:.3g}); lower "
            "training.learning_rate, or check the data; the last checkpoint is unharmed"
        )

    def _snapshot_number(self, fraction: float) -> int:
        return int(fraction * self.settings.snapshots)

    def save(self) -> Path | None:
        """Write a checkpoint now, from the main process; returns its folder.

        Raises:
            FloatingPointError: if a weight is not finite; earlier checkpoints are untouched.
            OSError: if it cannot be written.
        """
        bad = [name for name, p in self.denoiser.named_parameters() if not bool(torch.isfinite(p).all())]
        if bad:
            raise FloatingPointError(
                f"the weights {bad[0]!r} are not finite after {self.samples} samples; lower "
                "training.learning_rate; the last checkpoint is unharmed"
            )
        if self.folder is None or not self.accelerator.is_main_process:
            return None
        inner = getattr(self.optimizer, "optimizer", self.optimizer)
        optimizer = {
            f"{index}.{name}": value
            for index, values in inner.state_dict()["state"].items()
            for name, value in values.items()
        }
        tensors = {"model": self.denoiser.module.state_dict(), "optimizer": optimizer}
        tensors |= {f"ema-{i}": self.ema.state(i) for i in range(len(self.ema.widths))}
        tensors["levels"] = {"squares": self.levels.squares, "counts": self.levels.counts}
        state: dict[str, Any] = {"seconds": self.seconds, "ema": list(self.ema.widths)}
        return save_checkpoint(self.folder / "checkpoints", Checkpoint(self.samples, tensors, state))

    def restore(self) -> list[str]:
        """Go back to the newest whole checkpoint, if there is any.

        Returns:
            A sentence for each damaged checkpoint that was passed over.

        Raises:
            ValueError: if checkpoints exist but none can be read, or they are of another network.
        """
        if self.folder is None:
            return []
        found, problems = load_newest(self.folder / "checkpoints")
        if found is None:
            if problems:
                raise ValueError(f"no checkpoint can be read: {'; '.join(problems)}")
            return []
        try:
            if list(found.state["ema"]) != list(self.ema.widths):
                raise KeyError("ema")
            self.denoiser.module.load_state_dict(found.tensors["model"])
            for i in range(len(self.ema.widths)):
                self.ema.load(i, found.tensors[f"ema-{i}"])
            self._restore_optimizer(found.tensors["optimizer"])
        except (RuntimeError, KeyError) as error:
            raise ValueError(
                f"the checkpoint in {self.folder} is of another network or other averages; resume with "
                "the settings that it was started with"
            ) from error
        self.levels.squares.copy_(found.tensors["levels"]["squares"])
        self.levels.counts.copy_(found.tensors["levels"]["counts"])
        for path in (self.folder / "ema").glob("*.safetensors"):
            if int(path.stem.split("-")[0]) > found.samples:
                path.unlink(missing_ok=True)  # of the part that was lost
        drop_damaged(self.folder / "checkpoints", newer_than=found.samples)
        self.samples = found.samples
        self.seconds_before = float(found.state["seconds"])
        self.started = time.monotonic()
        return problems

    def _restore_optimizer(self, tensors: dict[str, Tensor]) -> None:
        inner = getattr(self.optimizer, "optimizer", self.optimizer)
        parameters = [p for group in inner.param_groups for p in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            index, name = key.split(".", 1)
            like = parameters[int(index)]
            if value.shape == like.shape:  # the fused step needs moments laid out as their parameters are
                value = torch.empty_like(like, dtype=value.dtype, requires_grad=False).copy_(value)
            state.setdefault(int(index), {})[name] = value
        inner.load_state_dict({"state": state, "param_groups": inner.state_dict()["param_groups"]})


def _mirror(x: Tensor, rows: Tensor) -> Tensor:
    """(batch, ...) with the last axis of some rows, (batch,) bool, turned round."""
    return torch.where(rows.reshape(-1, *[1] * (x.ndim - 1)), x.flip(-1), x)


def _accelerator(precision: str) -> Any:
    """Hugging Face Accelerate for the device at hand; a second run in a process may change precision."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    if precision == "auto":
        usable = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        precision = "bf16" if usable else "float32"
    wanted = "bf16" if precision == "bf16" else "no"
    shared = AcceleratorState._shared_state
    if shared and shared.get("_mixed_precision", wanted) != wanted:
        AcceleratorState._reset_state()
    return Accelerator(mixed_precision=wanted)
