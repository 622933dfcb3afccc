r"""Power-function averages of the weights, and their reconstruction after training.

After n samples the average weighs the parameters at s <= n samples by s^gamma. Two such averages, stored
now and then, determine the average of any other width to good accuracy by least squares.

Source: Karras et al. 2024b (EDM2), section 3 and appendix C.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from unstir.files import read_tensors, write_tensors


def gamma_of_width(width: float) -> float:
    r"""The exponent whose average has relative standard deviation ``width`` (EDM2, eq. 11 and 127).

    The positive root of :math:`(\gamma + 1) / ((\gamma + 2)^2 (\gamma + 3)) = width^2`.

    Raises:
        ValueError: for a width outside (0, 0.288), that of gamma = 0.
    """
    if not 0.0 < width < 12**-0.5:
        raise ValueError(f"the relative width of an average lies between 0 and 0.288, got {width}")
    inverse = width**-2
    roots = np.roots([1.0, 7.0, 16.0 - inverse, 12.0 - inverse])
    return float(roots.real.max())


class PowerEMA:
    """Averages of a module's parameters at several relative widths.

    Args:
        module: its parameters are averaged, in float32 or wider.
        widths: relative standard deviations, each in (0, 0.288); 0.05 to 0.10 for long runs.
    """

    def __init__(self, module: nn.Module, widths: Sequence[float]) -> None:
        self.widths = tuple(widths)
        self.gammas = tuple(gamma_of_width(width) for width in widths)
        self.names = [name for name, _ in module.named_parameters()]
        self.averages = [[p.detach().clone() for p in module.parameters()] for _ in widths]

    @torch.no_grad()
    def update(self, parameters: Iterable[Tensor], samples: int, batch: int) -> None:
        """Take in the parameters after ``samples`` samples, the last ``batch`` of them new."""
        current = [p.detach() for p in parameters]
        for average, gamma in zip(self.averages, self.gammas, strict=True):
            keep = (1.0 - batch / samples) ** (gamma + 1.0)
            torch._foreach_lerp_(average, current, 1.0 - keep)

    def state(self, index: int) -> dict[str, Tensor]:
        """The averaged parameters of one width, by name."""
        return dict(zip(self.names, self.averages[index], strict=True))

    def load(self, index: int, state: dict[str, Tensor]) -> None:
        """Set one average to stored values."""
        for name, value in zip(self.names, self.averages[index], strict=True):
            value.copy_(state[name])

    def snapshot(self, folder: Path, samples: int) -> None:
        """Store all averages in ``folder`` for `reconstruct`."""
        for index, width in enumerate(self.widths):
            path = folder / f"{samples:012d}-{index}.safetensors"
            metadata = {"samples": str(samples), "width": repr(width)}
            write_tensors(path, self.state(index), metadata)


def overlap(samples_a: float, gamma_a: float, samples_b: float, gamma_b: float) -> float:
    r"""Inner product of two averaging profiles s^gamma, each normalised on [0, samples].

    .. math:: \frac{(\gamma_a + 1)(\gamma_b + 1)}{\gamma_a + \gamma_b + 1}
              \frac{\min(a, b)^{\gamma_a + \gamma_b + 1}}{a^{\gamma_a + 1} b^{\gamma_b + 1}}

    Source: EDM2, appendix C.2.
    """
    shared = min(samples_a, samples_b)
    ratio = (shared / samples_a) ** (gamma_a + 1.0) * (shared / samples_b) ** (gamma_b + 1.0) / shared
    return float((gamma_a + 1.0) * (gamma_b + 1.0) / (gamma_a + gamma_b + 1.0) * ratio)


def reconstruction_weights(stored: Sequence[tuple[float, float]], wanted: tuple[float, float]) -> list[float]:
    """Coefficients of stored averages whose sum is closest to the wanted one (EDM2, algorithm 3).

    Args:
        stored: (samples, width) of each stored average.
        wanted: (samples, width) of the average to make; at most as many samples as stored.

    Returns:
        (len(stored),) coefficients that sum to about 1.
    """
    scale = max(samples for samples, _ in stored)
    profiles = [(samples / scale, gamma_of_width(width)) for samples, width in stored]
    target = (wanted[0] / scale, gamma_of_width(wanted[1]))
    gram = np.array([[overlap(*a, *b) for b in profiles] for a in profiles])
    right = np.array([overlap(*a, *target) for a in profiles])
    return [float(weight) for weight in np.linalg.lstsq(gram, right, rcond=1e-12)[0]]


def reconstruct(folder: Path, width: float, samples: int | None = None) -> dict[str, Tensor]:
    """The average of any width from the snapshots of a run.

    Args:
        folder: where `PowerEMA.snapshot` stored them.
        width: the relative width wanted.
        samples: up to which point of training; all of it by default.

    Returns:
        The averaged parameters, by name.

    Raises:
        ValueError: if there are no snapshots (up to that point), or for a width out of range.
    """
    found = []
    for path in sorted(folder.glob("*.safetensors")):
        tensors, about = read_tensors(path)
        count, stored_width = int(about["samples"]), float(about["width"])
        if samples is None or count <= samples:
            found.append((path, count, stored_width))
    if not found:
        raise ValueError(
            f"{folder} holds no snapshots to reconstruct an average from; train with training.snapshots=16"
        )
    end = samples or max(count for _, count, _ in found)
    weights = reconstruction_weights([(c, w) for _, c, w in found], (end, width))
    total: dict[str, Tensor] = {}
    for (path, _, _), weight in zip(found, weights, strict=True):
        tensors, _ = read_tensors(path)
        for name, value in tensors.items():
            term = value.double() * weight
            total[name] = total[name] + term if name in total else term
    return {name: value.float() for name, value in total.items()}
