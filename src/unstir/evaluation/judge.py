"""A judge of labelled samples: a classifier of known held-out accuracy, whose insides are features."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from unstir import noise
from unstir.evaluation.classifier import Classifier
from unstir.evaluation.inputs import class_labels, flat
from unstir.files import read_tensors, write_tensors

_FORMAT = "unstir judge 1"
_CHUNK = 1024


class Judge:
    """A classifier that was trained on data and says how often it is right on held-out data.

    Attributes:
        accuracy: share of the held-out data that it labels as they are; what a perfect model can reach.
        classes: number of classes.
        event: shape of one sample.
    """

    def __init__(self, network: Classifier, event: tuple[int, ...], classes: int, accuracy: float) -> None:
        self.network = network.eval().requires_grad_(False)
        self.event = event
        self.classes = classes
        self.accuracy = accuracy

    def features(self, x: Tensor) -> Tensor:
        """Penultimate activations (n, 64) float32 of events (n, *event).

        Raises:
            ValueError: for events of another shape, no samples, or values that are not finite.
        """
        return self._apply(self.network.features, x)

    def predict(self, x: Tensor) -> Tensor:
        """The most likely class of each sample, (n,) int64; raises as `features` does."""
        return self._apply(self.network, x).argmax(dim=1)

    def save(self, path: str | Path) -> None:
        """Write one safetensors file with its settings as JSON in the header; aside first, then renamed."""
        settings = {"event": self.event, "classes": self.classes, "accuracy": self.accuracy}
        metadata = {"format": _FORMAT, "judge": json.dumps(settings)}
        write_tensors(Path(path), self.network.state_dict(), metadata)

    @classmethod
    def load(cls, path: str | Path) -> Judge:
        """Read what `save` wrote, onto the CPU.

        Raises:
            FileNotFoundError: where there is no file.
            ValueError: for a file that is not a judge's, or not of this version.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no judge at {path}")
        state, metadata = read_tensors(Path(path))
        if metadata.get("format") != _FORMAT:
            raise ValueError(f"{path} does not hold a judge that this version of unstir can read")
        try:
            settings = json.loads(metadata["judge"])
            event = tuple(settings["event"])
            with _fixed_initialisation(0):
                network = Classifier(event, settings["classes"])
            network.load_state_dict(state)
            return cls(network, event, settings["classes"], settings["accuracy"])
        except (KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"{path} is damaged: it does not hold a whole judge") from error

    def _apply(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        flat(x, "x", least=1)
        if tuple(x.shape[1:]) != self.event:
            raise ValueError(f"the judge knows events of shape {self.event}, got {tuple(x.shape[1:])}")
        device = self.network.mean.device
        with torch.no_grad(), _threads_for(self.event, device):
            return torch.cat(
                [function(chunk.to(device, torch.float32)) for chunk in torch.split(x, _CHUNK)]
            ).to(x.device)


def train_judge(
    x_train: Tensor,
    y_train: Tensor,
    x_heldout: Tensor,
    y_heldout: Tensor,
    *,
    classes: int,
    seed: int = 0,
    steps: int = 300,
    batch: int = 128,
    learning_rate: float = 5e-3,
    shift: float = 0.0,
) -> Judge:
    """Train a small residual classifier and measure it on data that it has not seen.

    Cross-entropy by AdamW (Loshchilov & Hutter 2019), with a rise over the first tenth and a cosine fall to
    zero. Random shifts are off by default: they raise accuracy a little, but make the features blind to
    where things are, and a Fréchet distance in them as well. On CPU the same seed, data and number of
    threads give the same judge; events of up to 4,096 numbers use one thread, which is also faster for
    them. The global generators stay untouched.

    Args:
        x_train: (n, *event): (D,), (C, L), (C, H, W) or (C, D, H, W); its device decides where to train.
        y_train: (n,) integers from 0 to classes - 1, each class at least once.
        x_heldout: (m, *event).
        y_heldout: (m,).
        classes: number of classes, at least 2.
        seed: decides initial weights, order and shifts.
        steps: optimiser steps; 300 suffice for the digits; larger or harder data need more.
        batch: samples a step, at least 2.
        learning_rate: the highest, positive.
        shift: move training arrays by up to this share of each axis, 0 to 0.5; at least 1 cell if above 0.

    Returns:
        The judge; ``accuracy`` is measured on the held-out data.

    Raises:
        ValueError: for shapes, labels or settings out of the ranges above, or values that are not finite.
    """
    flat(x_train, "x_train")
    flat(x_heldout, "x_heldout", least=1)
    if x_train.shape[1:] != x_heldout.shape[1:]:
        raise ValueError(
            f"x_train and x_heldout must be events of one shape, "
            f"got {tuple(x_train.shape[1:])} and {tuple(x_heldout.shape[1:])}"
        )
    if classes < 2 or steps < 1 or batch < 2 or not 0 < learning_rate < math.inf:
        raise ValueError(
            f"a judge needs classes >= 2, steps >= 1, batch >= 2 and learning_rate > 0, "
            f"got {classes}, {steps}, {batch} and {learning_rate}"
        )
    if not 0.0 <= shift <= 0.5:
        raise ValueError(f"the shift is a share of each axis from 0 to 0.5, got {shift}")
    y_train = class_labels(y_train, len(x_train), classes, "y_train").to(x_train.device)
    y_heldout = class_labels(y_heldout, len(x_heldout), classes, "y_heldout")
    missing = (y_train.bincount(minlength=classes) == 0).nonzero()
    if len(missing):
        raise ValueError(f"class {int(missing[0])} has no training sample")
    event = tuple(x_train.shape[1:])
    with _fixed_initialisation(seed):
        network = Classifier(event, classes)
    network.to(x_train.device)
    with _threads_for(event, x_train.device):
        _fit(network, x_train.detach().float(), y_train, seed, steps, batch, learning_rate, shift)
    judge = Judge(network, event, classes, accuracy=0.0)
    judge.accuracy = float((judge.predict(x_heldout).cpu() == y_heldout.cpu()).double().mean())
    return judge


def _fit(
    network: Classifier,
    x: Tensor,
    y: Tensor,
    seed: int,
    steps: int,
    batch: int,
    learning_rate: float,
    shift: float,
) -> None:
    network.standardise(x)
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=0.05)
    batches = _batches(len(x), min(batch, len(x)), seed)
    for step in range(steps):
        epoch, index = next(batches)
        # The order is drawn on the CPU, so that it is the same on every device.
        place = index.to(x.device)
        progress = (step + 1) / steps
        rate = learning_rate * min(1.0, 10 * progress) * 0.5 * (1 + math.cos(math.pi * (step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        seen = _shifted(x[place], place, seed, epoch, shift) if shift > 0 else x[place]
        loss = F.cross_entropy(network(seen), y[place])
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()


def _batches(count: int, batch: int, seed: int) -> Iterator[tuple[int, Tensor]]:
    """(epoch, indices) without end, each epoch a new order; what is left of an order is skipped."""
    epoch = 0
    while True:
        order = noise.permutation(count, seed=seed, stream=noise.Stream.JUDGE, step=2 * epoch)
        for start in range(0, count - batch + 1, batch):
            yield epoch, order[start : start + batch]
        epoch += 1


def _shifted(x: Tensor, index: Tensor, seed: int, epoch: int, share: float) -> Tensor:
    """x (n, C, *axes) moved by up to a share of each axis; edges repeat. Rows (n, D) stay as they are."""
    sizes = x.shape[2:]
    if not sizes:
        return x
    u = noise.uniform((len(sizes),), seed=seed, index=index, stream=noise.Stream.JUDGE, step=2 * epoch + 1)
    for axis, size in enumerate(sizes):
        reach = max(1, int(size * share)) if size > 1 else 0
        shift = (u[:, axis, None] * (2 * reach + 1)).long() - reach
        source = (torch.arange(size, device=x.device) + shift).clamp(0, size - 1)
        shape = [len(x), *[1] * (x.ndim - 1)]
        shape[axis + 2] = size
        x = x.gather(axis + 2, source.reshape(shape).expand_as(x))
    return x


@contextmanager
def _fixed_initialisation(seed: int) -> Iterator[None]:
    """Modules draw their initial weights from the CPU's global generator: lend it a seed, then restore it."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed % 2**63)
        yield


@contextmanager
def _threads_for(event: tuple[int, ...], device: torch.device) -> Iterator[None]:
    """One CPU thread for small events: on shared cores two have been up to 60 times slower there."""
    before = torch.get_num_threads()
    if device.type != "cpu" or math.prod(event) > 4096 or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
