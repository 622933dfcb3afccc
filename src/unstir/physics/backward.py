"""The backward heat equation: how badly it is posed, two regularised inverses, and when to refuse.

Going back a time t multiplies the part of the data at eigenvalue -l of the generator by exp(l t). Noise of
any size then fills every scale below some wavelength, so an inverse must say what it leaves out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from unstir.generators import Generator

_METHODS = ("tikhonov", "truncated", "none")


@dataclass(frozen=True)
class Restored:
    """What came back.

    Attributes:
        u: the estimate of the state a time t before, of the data's shape.
        method: tikhonov, truncated or none.
        amplification: largest factor by which noise was multiplied.
        worst: the factor that an unregularised inverse on this grid would have had (inf if it overflows).
        kept: share of the modes that came back at more than half their size.
        why: the choice in one sentence.
    """

    u: Tensor
    method: str
    amplification: float
    worst: float
    kept: float
    why: str


def backward_heat(
    generator: Generator, t: float, u: Tensor, *, noise: float, signal: float = 1.0, method: str = "tikhonov"
) -> Restored:
    r"""Estimate the state from which a symmetric diffusion reached ``u`` after time t.

    With the damping h = exp(-l t) of a mode and the ratio q = (noise / signal)^2, the inverse's factor is

    .. math:: \frac{h}{h^2 + q}\ (\text{Tikhonov, the posterior mean for white data}),\quad
              \frac{1}{h}\,[h > \sqrt q]\ (\text{truncated}),\quad \frac1h\ (\text{none})

    Source: Engl, Hanke & Neubauer 1996, sections 4.1 and 5.1; Kaipio & Somersalo 2005, section 3.4 (Gaussian
    posterior). The largest amplification is 1 / (2 sqrt(q)) and 1 / sqrt(q).

    Args:
        generator: reversible, conserving or not, without source.
        t: how far back, at least 0.
        u: (..., *shape), the data.
        noise: standard deviation of the noise in every entry of the data, above 0 unless method is 'none'.
        signal: standard deviation of a mode of what is sought.
        method: 'tikhonov', 'truncated', or 'none' for the plain inverse of exact data.

    Raises:
        ValueError: for a negative time, no noise level, or a plain inverse that would magnify round-off of
            the data's own type beyond its size; the sentence says by how much.
    """
    if method not in _METHODS:
        raise ValueError(f"a backward method is one of {', '.join(_METHODS)}, got {method!r}")
    if not (math.isfinite(t) and t >= 0):
        raise ValueError(f"going back a time takes t >= 0, got {t}")
    if method != "none" and not (noise > 0 and signal > 0):
        raise ValueError(
            f"a regularised inverse needs deviations of noise and signal above 0, got {noise} and {signal}"
        )
    values = _spectrum(generator)
    damping = torch.exp(t * values)
    worst = float(1.0 / damping.min()) if float(damping.min()) > 0 else math.inf
    if method == "none":
        _refuse(worst, u, t)
        factor, why = 1.0 / damping, f"the plain inverse: noise grows by up to {worst:.3g}"
        invert = partial(_plain, t)
    else:
        q = (noise / signal) ** 2
        invert = partial(_tikhonov if method == "tikhonov" else _truncated, t, q)
        factor = invert(values)
        cut = math.sqrt(q)
        why = (
            f"modes damped below noise/signal = {cut:.3g} are not brought back: "
            f"the plain inverse would magnify noise by {worst:.3g}"
        )
    return Restored(
        u=generator.function(invert, u),
        method=method,
        amplification=float(factor.max()),
        worst=worst,
        kept=float((factor * damping > 0.5).double().mean()),
        why=why,
    )


def _plain(t: float, values: Tensor) -> Tensor:
    return torch.exp(-t * values)


def _tikhonov(t: float, q: float, values: Tensor) -> Tensor:
    damping = torch.exp(t * values)
    return damping / (damping**2 + q)


def _truncated(t: float, q: float, values: Tensor) -> Tensor:
    damping = torch.exp(t * values)
    kept = damping > math.sqrt(q)
    return torch.where(kept, 1.0 / torch.where(kept, damping, 1.0), 0.0)


def _refuse(worst: float, u: Tensor, t: float) -> None:
    precision = torch.finfo(u.dtype if u.is_floating_point() else torch.float64).eps
    if worst * precision > 0.01:
        raise ValueError(
            f"the plain inverse over t = {t:g} multiplies the smallest scales by {worst:.3g}, so round-off "
            f"of {precision:.1g} alone would drown the answer; use method='tikhonov' or 'truncated' with the "
            "data's noise, go back less far, or take a coarser grid"
        )


def _spectrum(generator: Generator) -> Tensor:
    """The eigenvalues, flat, for the factors that are reported."""
    spectrum = getattr(generator, "spectrum", None)
    if spectrum is not None:
        values: Tensor = spectrum()
        if values.is_complex():
            raise ValueError(
                "a drift round a periodic axis does not decay; only reversible spreading is undone here"
            )
        return values.detach().reshape(-1)
    # Without a table of eigenvalues, their range does: 0 to the bound of the width.
    width = float(generator.sparse().width())
    return -torch.linspace(0.0, width, 1001, dtype=torch.float64)
