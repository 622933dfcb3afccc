"""Constant coefficients on equal cells: the Fourier, cosine and sine transforms diagonalise everything."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from unstir.generators.faces import Parts
from unstir.generators.generator import Function, Generator, Plan


def wavenumbers(n: int, width: float, kind: str) -> Tensor:
    """(n,) angular wavenumbers of a transform of n cells of a width, float64.

    ``fft``: 2 pi k / L, positive and negative; ``dct``: pi k / L from 0; ``dst``: pi k / L from 1.
    """
    if kind == "fft":
        circular: Tensor = 2.0 * math.pi * torch.fft.fftfreq(n, d=width, dtype=torch.float64)
        return circular
    first = 0 if kind == "dct" else 1
    waves: Tensor = math.pi * torch.arange(first, n + first, dtype=torch.float64) / (n * width)
    return waves


def dct(u: Tensor, axis: int) -> Tensor:
    """The orthonormal DCT-II along an axis (Makhoul 1980, by one FFT of the same length)."""
    u = u.movedim(axis, -1)
    n = u.shape[-1]
    folded = torch.cat([u[..., ::2], u[..., 1::2].flip(-1)], dim=-1)
    spectrum = torch.fft.fft(folded)
    turned: Tensor = (spectrum * _twiddle(n, u)).real * _norm(n, u)
    return turned.movedim(-1, axis)


def idct(u: Tensor, axis: int) -> Tensor:
    """The inverse of `dct`."""
    u = u.movedim(axis, -1) / _norm(u.shape[axis], u)
    n = u.shape[-1]
    # The FFT of a real sequence: X_k - i X_(n-k), turned back by the twiddle.
    mirrored = torch.cat([torch.zeros_like(u[..., :1]), u[..., 1:].flip(-1)], dim=-1)
    folded = torch.fft.ifft(torch.complex(u, -mirrored) / _twiddle(n, u)).real
    half = (n + 1) // 2
    result = torch.empty_like(folded)
    result[..., ::2], result[..., 1::2] = folded[..., :half], folded[..., half:].flip(-1)
    return result.movedim(-1, axis)


def dst(u: Tensor, axis: int) -> Tensor:
    """The orthonormal DST-II along an axis: the DCT-II of the sequence with alternating signs, reversed."""
    return dct(u * _signs(u, axis), axis).flip(axis)


def idst(u: Tensor, axis: int) -> Tensor:
    """The inverse of `dst`."""
    return idct(u.flip(axis), axis) * _signs(u, axis)


def _standing(
    u: Tensor, axes: tuple[int, ...], kind: str, own: Callable[[Tensor, int], Tensor], *, inverse: bool
) -> Tensor:
    """A cosine or sine transform along some axes: scipy's where it applies (3 times faster), else ours."""
    if not axes:
        return u
    if u.device.type != "cpu" or u.requires_grad or u.is_complex():
        for axis in axes:
            u = own(u, axis)
        return u
    from scipy import fft

    transform = getattr(fft, f"i{kind}n" if inverse else f"{kind}n")
    return torch.from_numpy(transform(u.numpy(), type=2, norm="ortho", axes=axes, overwrite_x=inverse))


def _signs(u: Tensor, axis: int) -> Tensor:
    like = [1] * u.ndim
    like[axis] = -1
    return torch.tensor([1.0, -1.0]).to(u).repeat(u.shape[axis] // 2 + 1)[: u.shape[axis]].reshape(like)


def _twiddle(n: int, u: Tensor) -> Tensor:
    angle = -0.5 * math.pi / n * torch.arange(n, dtype=torch.float64)
    kind = torch.complex128 if u.dtype == torch.float64 else torch.complex64
    return torch.polar(torch.ones_like(angle), angle).to(device=u.device, dtype=kind)


def _norm(n: int, u: Tensor) -> Tensor:
    norm = torch.full((n,), math.sqrt(2.0 / n), dtype=torch.float64)
    norm[0] = math.sqrt(1.0 / n)
    return norm.to(u)


class Fourier(Generator):
    r"""sum over axes of D d^2/dx^2 - w d/dx, minus a decay, in its eigenbasis; built by `diffusion`.

    With ``spectral`` the eigenvalue of a wavenumber k is the continuous one, -D k^2 - i w k: exact in space
    for u that the grid resolves (Trefethen 2000, chapter 3). Otherwise it is that of the finite volumes,
    -(4 D / dx^2) sin^2(k dx / 2), which keeps positive densities positive.

    Args:
        space: a grid of uniform cartesian axes, each periodic, reflecting or absorbing at both ends.
        kinds: of transform for each axis: fft, dct or dst.
        D: one scalar for each axis.
        drift: one scalar for each axis, or None; periodic axes only.
        decay: scalar.
        spectral: whether the eigenvalues are the continuous ones.
    """

    def __init__(
        self,
        space: Any,
        kinds: list[str],
        D: list[Tensor],
        drift: list[Tensor] | None,
        decay: Tensor,
        spectral: bool,
    ) -> None:
        self.space, self.shape, self.volumes, self.source = space, space.shape, space.volumes, None
        self.kinds, self.D, self.drift, self.decay, self.spectral = kinds, D, drift, decay, spectral
        names = {"fft": "Fourier", "dct": "cosine", "dst": "sine"}
        self.engine = " and ".join(dict.fromkeys(names[kind] for kind in kinds)) + " transform"
        self._table: Tensor | None = None
        self._kept: dict[tuple[Any, ...], Tensor] = {}

    def spectrum(self) -> Tensor:
        """The eigenvalues, of ``shape``; complex where there is drift."""
        if self._table is not None:
            return self._table
        total = -self.decay
        for k, axis in enumerate(self.space.axes):
            width = axis.length / axis.cells
            wave = wavenumbers(axis.cells, width, self.kinds[k])
            square = wave**2 if self.spectral else (2.0 / width * torch.sin(0.5 * width * wave)) ** 2
            own = -self.D[k] * square
            if self.drift is not None and bool((self.drift[k] != 0).any()):
                odd = torch.where(wave.abs() * width < math.pi * (1 - 1e-9), wave, 0.0)
                own = torch.complex(own, -self.drift[k] * odd)
            total = total[..., None] + own
        if not total.requires_grad:
            self._table = total
        return total

    def to_modes(self, u: Tensor) -> Tensor:
        """States (..., *shape) in the eigenbasis, entry by entry beside `spectrum`; complex for waves."""
        for kind, own in (("dct", dct), ("dst", dst)):
            u = _standing(u, self._axes(kind), kind, own, inverse=False)
        waves = self._axes("fft")
        return torch.fft.fftn(u, dim=waves) if waves else u

    def from_modes(self, u: Tensor) -> Tensor:
        """The inverse of `to_modes`."""
        return self._out(u.clone() if not u.requires_grad else u)

    def _out(self, u: Tensor) -> Tensor:
        """`from_modes` of a tensor that may be written over."""
        waves = self._axes("fft")
        if waves:
            u = torch.fft.ifftn(u, dim=waves).real
        for kind, own in (("dct", idct), ("dst", idst)):
            u = _standing(u, self._axes(kind), kind, own, inverse=True)
        return u

    def _axes(self, kind: str) -> tuple[int, ...]:
        return tuple(k - len(self.shape) for k, own in enumerate(self.kinds) if own == kind)

    def _multiplied(self, factor: Tensor, u: Tensor) -> Tensor:
        wide = torch.promote_types(u.dtype, torch.float32)
        kind = (
            (torch.complex128 if wide == torch.float64 else torch.complex64) if factor.is_complex() else wide
        )
        return self.from_modes(factor.to(device=u.device, dtype=kind) * self.to_modes(u.to(wide))).to(u.dtype)

    def __call__(self, u: Tensor) -> Tensor:
        return self._multiplied(self.spectrum(), self._checked(u))

    def _exp(self, times: Tensor, u: Tensor, tolerance: float, positive: bool) -> Tensor:
        if positive:
            if self.spectral:
                raise ValueError(
                    "the spectral scheme has no positive path: its kernels ring below 0; use "
                    'scheme="finite-volume"'
                )
            return self.sparse()._exp(times, u, tolerance, positive=True)
        wide = u.to(torch.promote_types(u.dtype, torch.float32))
        hat = self.to_modes(wide)
        states = [self._out(self._factor(t, hat) * hat).to(u.dtype) for t in times]
        result = states[0][None] if len(states) == 1 else torch.stack(states)
        if not self.spectral and float(u.detach().min()) >= 0.0:
            return result.clamp(min=0.0) if result.requires_grad else result.clamp_(min=0.0)
        return result

    def _factor(self, t: Tensor, hat: Tensor) -> Tensor:
        """exp(t l) of every mode, of a type that multiplies ``hat``; kept for the last few times."""
        key = float(t.detach()), hat.dtype, hat.device
        if key in self._kept and not t.requires_grad:
            return self._kept[key]
        factor = torch.exp(t.cpu() * self.spectrum())
        kind = hat.dtype if factor.is_complex() or not hat.is_complex() else hat.real.dtype
        factor = factor.to(device=hat.device, dtype=kind)
        if not factor.requires_grad:
            if len(self._kept) >= 16:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = factor
        return factor

    def _function(self, f: Function, u: Tensor, tolerance: float) -> Tensor:
        return self._multiplied(f(self._real()), u)

    def _real(self) -> Tensor:
        spectrum = self.spectrum()
        if spectrum.is_complex():
            raise ValueError(
                "this generator has a drift round a periodic axis, so its eigenvalues are complex; functions "
                "of it are not defined here, exp and solve are"
            )
        return spectrum

    def _solve(self, shift: float, u: Tensor) -> Tensor:
        gap = shift - self.spectrum()
        null = gap.abs() < 1e-13 * gap.abs().max()
        return self._multiplied(torch.where(null, 0.0, 1.0 / torch.where(null, 1.0, gap)), u)

    def plan(self, t: float, *, tolerance: float = 1e-12, positive: bool = False) -> Plan:
        if positive and not self.spectral:
            return self.sparse().plan(t, tolerance=tolerance, positive=True)
        return Plan(self.engine, 0, 2e-16 * math.log2(2 * self.volumes.numel()))

    @property
    def conservative(self) -> bool:
        return "dst" not in self.kinds and float(self.decay) == 0.0

    @property
    def reversible(self) -> bool:
        return not self.spectrum().is_complex()

    @property
    def rate(self) -> float:
        total = float(self.decay)
        for k, axis in enumerate(self.space.axes):
            total += 2.0 * float(self.D[k]) * (axis.cells / axis.length) ** 2
        return total

    def parts(self) -> Parts:
        """The rates of the finite volumes; the spectral scheme has none."""
        if self.spectral:
            raise ValueError(
                "the spectral scheme is not made of rates between cells (they would be negative); use "
                'scheme="finite-volume" for this'
            )
        from unstir.generators.faces import Coefficients, assemble_grid

        return assemble_grid(self.space, Coefficients(self.D, None, None, self.decay))

    def stationary(self) -> Tensor:
        if not self.conservative:
            raise ValueError("everything leaks out of this space in the end, so no density is stationary")
        return torch.full(self.shape, 1.0 / float(self.volumes.sum()), dtype=torch.float64)

    @property
    def T(self) -> Generator:  # noqa: N802
        drift = None if self.drift is None else [-w for w in self.drift]
        return Fourier(self.space, self.kinds, self.D, drift, self.decay, self.spectral)

    def _scaled(self, factor: Tensor) -> Fourier:
        drift = None if self.drift is None else [w * factor for w in self.drift]
        return Fourier(
            self.space, self.kinds, [D * factor for D in self.D], drift, self.decay * factor, self.spectral
        )
