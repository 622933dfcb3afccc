"""Denoisers that are known exactly: Gaussian, Gaussian mixture, finite data set.

They are what every sampler, likelihood and guidance of the library is measured against.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from unstir.denoisers.denoiser import Denoiser, Posterior, blank, times
from unstir.processes import Modes, Schedule


def _state_type(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


class GaussianMixture(Denoiser):
    r"""The exact posterior of data from a mixture of Gaussians.

    Given component k with covariance :math:`U \mathrm{diag}(\ell) U^T`, in its eigenbasis

    .. math:: E[x_0 | x_t, k] = \mu_k + \frac{\alpha \ell}{\alpha^2 \ell + \sigma^2} (x_t - \alpha \mu_k),
              \quad Var[x_0 | x_t, k] = \frac{\sigma^2 \ell}{\alpha^2 \ell + \sigma^2}

    and the responsibilities are the softmax of the components' log-densities of x_t; the law of total
    variance joins the two. Source: Bishop 2006, eq. 2.116 (linear Gaussian models) and section 2.3.9. Under
    a schedule that blurs, all this is done in its modes, in which covariances must be diagonal.

    Args:
        schedule: the forward process.
        means: (K, *event).
        stds: (K,) standard deviations of round components, each at least 0.
        covariances: (K, d, d) of the flattened events instead, symmetric and positive semidefinite.
        weights: (K,) positive, normalised here; equal by default.
        labels: (K,) class of each component, for the condition ``label`` (-1 there means any class).

    Raises:
        ValueError: for shapes that do not match, negative deviations or weights, or a covariance that
            is not symmetric and positive semidefinite, or not diagonal in the modes of the schedule.
    """

    means: Tensor
    spectrum: Tensor
    basis: Tensor | None
    log_weights: Tensor
    labels: Tensor | None

    def __init__(
        self,
        schedule: Schedule,
        means: Tensor,
        stds: Tensor | None = None,
        covariances: Tensor | None = None,
        weights: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> None:
        super().__init__()
        count = len(means)
        self.schedule = schedule
        self.event = tuple(means.shape[1:])
        self.register_buffer("means", means.double().reshape(count, -1))
        if (stds is None) == (covariances is None):
            raise ValueError("give either stds (K,) or covariances (K, d, d), and not both")
        if stds is not None:
            if stds.shape != (count,) or bool((stds < 0).any()):
                raise ValueError(f"stds holds one value of at least 0 for each of {count} components")
            self.register_buffer("spectrum", stds.double()[:, None] ** 2)
            self.register_buffer("basis", None)
        elif covariances is not None:
            spectrum, basis = self._decompose(covariances.double())
            self.register_buffer("spectrum", spectrum)
            self.register_buffer("basis", basis)
        weights = torch.ones(count) if weights is None else weights
        if weights.shape != (count,) or bool((weights <= 0).any()):
            raise ValueError(f"weights holds one positive value for each of {count} components")
        self.register_buffer("log_weights", (weights.double() / weights.double().sum()).log())
        self.sigma_data = self._deviation()
        if labels is not None and labels.shape != (count,):
            raise ValueError(f"labels holds one class for each of {count} components")
        self.register_buffer("labels", labels)

    def _decompose(self, covariances: Tensor) -> tuple[Tensor, Tensor | None]:
        count, d = self.means.shape
        if covariances.shape != (count, d, d):
            raise ValueError(
                f"covariances of {count} components of {d} entries have shape {(count, d, d)}, "
                f"got {tuple(covariances.shape)}"
            )
        scale = covariances.abs().amax(dim=(1, 2), keepdim=True)
        if bool(((covariances - covariances.mT).abs() > 1e-6 * scale).any()):
            raise ValueError("a covariance is not symmetric")
        if self._modes is None:
            spectrum, basis = torch.linalg.eigh(covariances)
        else:
            spectrum, basis = self._decompose_in_modes(covariances, scale), None
        if bool((spectrum < -1e-6 * scale[..., 0]).any()):
            raise ValueError("a covariance is not positive semidefinite: it has a negative eigenvalue")
        return spectrum.clamp(min=0.0), basis

    def _decompose_in_modes(self, covariances: Tensor, scale: Tensor) -> Tensor:
        once = self._rows(covariances, self.schedule.to_modes)
        twice = self._rows(once.mT, self.schedule.to_modes)
        spectrum = twice.diagonal(dim1=1, dim2=2)
        if bool(((twice - torch.diag_embed(spectrum)).abs() > 1e-6 * scale).any()):
            raise ValueError(
                f"under {type(self.schedule).__name__} covariances of an exact mixture are diagonal in its "
                "modes, and one is not; give stds, or take a schedule that does not blur"
            )
        return spectrum

    @property
    def covariances(self) -> Tensor:
        """The covariance of each component's flattened event, (K, d, d) float64."""
        unit = torch.eye(self.means.shape[1], dtype=torch.float64, device=self.means.device)
        spectrum = self.spectrum.expand(-1, len(unit))
        if self.basis is not None:
            return (self.basis * spectrum[:, None]) @ self.basis.mT
        in_modes = self._rows(unit, self.schedule.to_modes)
        return torch.stack([self._rows(in_modes * row, self.schedule.from_modes) for row in spectrum])

    @property
    def _modes(self) -> Modes | None:
        """The modes of the schedule, if it has any."""
        modes = self.schedule.modes(self.event)
        return modes if isinstance(modes, Modes) else None

    def _rows(self, rows: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        """Rows of flattened events, (..., d), in or out of the modes."""
        return change(rows.reshape(-1, *self.event)).reshape(rows.shape)

    def no_condition(self, condition: dict[str, Tensor]) -> dict[str, Tensor] | None:
        return blank(condition, "label")

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Posterior:
        alpha, sigma = self._levels(x_t, t)
        return self.posterior_at(x_t, alpha, sigma, **condition)

    def posterior_at(self, x_t: Tensor, alpha: Tensor, sigma: Tensor, **condition: Tensor) -> Posterior:
        """The posterior of x_0 given x_t = alpha x_0 + sigma epsilon, whatever the schedule.

        Args:
            x_t: (batch, *event).
            alpha: float64 that broadcasts against (batch, 1, 1); under a schedule that blurs (batch, 1, d),
                one for each mode.
            sigma: likewise.
            **condition: as in `forward`.
        """
        whitened, total = self._whiten(x_t, alpha, sigma)
        responsibility = self._log_joint(whitened, total, condition).softmax(dim=1)[..., None]
        gain = alpha * self.spectrum / total
        shift = self._rotate_back(gain * whitened)
        means = self.means + self._rows(shift, self.schedule.from_modes)
        mean = (responsibility * means).sum(1)
        within = self._diagonal(sigma**2 * self.spectrum / total)
        variance = (responsibility * (within + (means - mean[:, None]) ** 2)).sum(1)
        dtype = _state_type(x_t)
        return Posterior(mean.to(dtype).reshape(x_t.shape), variance.to(dtype).reshape(x_t.shape))

    def log_density(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Tensor:
        """log p_t(x_t) in nats, (batch,) float64; needs a density (sigma(t) > 0 or full covariances)."""
        whitened, total = self._whiten(x_t, *self._levels(x_t, t))
        return self._log_joint(whitened, total, condition).logsumexp(dim=1)

    def sample_data(self, count: int, *, seed: int = 0) -> Tensor:
        """Draw ``count`` samples of the data distribution, (count, *event) float64."""
        from unstir import noise

        index = torch.arange(count, device=self.means.device)
        stream = noise.Stream.DATA
        u = noise.uniform((), seed=seed, index=index, stream=stream)
        cumulative = self.log_weights.exp().cumsum(0)
        k = torch.searchsorted(cumulative, u).clamp(max=len(cumulative) - 1)
        z = noise.normal(
            self.means.shape[1:], seed=seed, index=index, stream=stream, step=1, dtype=torch.float64
        )
        scaled = self.spectrum[k].sqrt() * z
        if self.basis is not None:
            scaled = torch.einsum("bij,bj->bi", self.basis[k], scaled)
        scaled = self._rows(scaled, self.schedule.from_modes)
        return (self.means[k] + scaled).reshape(count, *self.event)

    def _deviation(self) -> float:
        """Standard deviation of all entries of the data about their mean; 1 for a single point."""
        share = self.log_weights.exp()[:, None]
        between = (share * (self.means - (share * self.means).sum(0)) ** 2).sum(0).mean()
        within = (share * self.spectrum).sum(0).mean()
        return float((between + within).sqrt()) or 1.0

    def _levels(self, x_t: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """alpha and sigma, (batch, 1, 1), or (batch, 1, d) of modes."""
        time, process = times(t, len(x_t), x_t.device), self.schedule.modes(self.event)
        return process.alpha(time).reshape(len(x_t), 1, -1), process.sigma(time).reshape(len(x_t), 1, -1)

    def _whiten(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """x_t - alpha mu in each component's eigenbasis, and its variances, (batch, K, d)."""
        if x_t.shape[1:] != self.event:
            raise ValueError(f"expected events of shape {self.event}, got {tuple(x_t.shape[1:])}")
        state = self.schedule.to_modes(x_t.double()).flatten(1)
        centred = state[:, None] - alpha * self._rows(self.means, self.schedule.to_modes)
        if self.basis is not None:
            centred = torch.einsum("kij,bki->bkj", self.basis, centred)
        # A state that is certain (no noise on a point mass) divides 0 by 0; its gain is 0.
        total = (alpha**2 * self.spectrum + sigma**2).clamp(min=1e-300)
        return centred, total

    def _log_joint(self, whitened: Tensor, total: Tensor, condition: dict[str, Tensor]) -> Tensor:
        width = self.means.shape[1]
        determinant = (total.log() + torch.zeros_like(whitened)).sum(2)
        exponent = (whitened**2 / total).sum(2)
        constant = width * torch.log(torch.tensor(2.0 * torch.pi, dtype=torch.float64))
        joint = self.log_weights - 0.5 * (determinant + exponent + constant)
        label = condition.get("label")
        if label is None:
            return joint
        if self.labels is None:
            raise ValueError("this mixture has no labels, so it cannot be conditioned on one")
        other = (self.labels[None] != label[:, None]) & (label[:, None] >= 0)
        selected = self.log_weights + torch.zeros_like(joint)
        within = selected.masked_fill(other, -torch.inf).logsumexp(1, keepdim=True)
        if bool(within.isinf().any()):
            raise ValueError("a label was asked for that no component of the mixture has")
        return joint.masked_fill(other, -torch.inf) - within

    def _rotate_back(self, coordinates: Tensor) -> Tensor:
        if self.basis is None:
            return coordinates
        return torch.einsum("kij,bkj->bki", self.basis, coordinates)

    def _diagonal(self, spectrum: Tensor) -> Tensor:
        if self._modes is not None:
            rows = spectrum.expand(*spectrum.shape[:-1], self.means.shape[1])
            return self._rows(rows, self._modes.synthesise_variance)
        if self.basis is None:
            return spectrum
        return torch.einsum("kij,bkj->bki", self.basis**2, spectrum)


class Gaussian(GaussianMixture):
    """The exact posterior of Gaussian data: one component of `GaussianMixture`.

    Args:
        schedule: the forward process.
        mean: (*event,).
        std: standard deviation of round data, a number of at least 0.
        covariance: (d, d) of the flattened event instead.

    Raises:
        ValueError: as in `GaussianMixture`.
    """

    def __init__(
        self,
        schedule: Schedule,
        mean: Tensor,
        std: float | None = None,
        covariance: Tensor | None = None,
    ) -> None:
        super().__init__(
            schedule,
            mean[None],
            None if std is None else torch.tensor([float(std)], dtype=torch.float64),
            None if covariance is None else covariance[None],
        )


class Dataset(Denoiser):
    r"""The exact posterior of a finite data set: the denoiser that a network would reach by memorising.

    .. math:: E[x_0 | x_t] = \sum_i w_i x_i,\quad
              w = \mathrm{softmax}_i\left(-\frac{\lVert x_t - \alpha x_i \rVert^2}{2 \sigma^2}\right)

    Data pass in chunks with a running softmax, so 60,000 images fit. At sigma = 0 it is the nearest point.
    Source: Karras et al. 2022, appendix B.3, eq. 57.

    Args:
        schedule: the forward process.
        data: (n, *event).
        labels: (n,) class of each point, for the condition ``label`` (-1 there means any class).
        chunk: points processed at once.

    Raises:
        ValueError: for an empty data set, labels that do not match, or a chunk below 1.
    """

    data: Tensor
    labels: Tensor | None

    def __init__(
        self, schedule: Schedule, data: Tensor, labels: Tensor | None = None, chunk: int = 4096
    ) -> None:
        super().__init__()
        if len(data) == 0:
            raise ValueError("the data set is empty")
        if chunk < 1:
            raise ValueError(f"a chunk holds at least one point, got {chunk}")
        if labels is not None and labels.shape != (len(data),):
            raise ValueError(f"labels holds one class for each of {len(data)} points")
        self.schedule = schedule
        self.event = tuple(data.shape[1:])
        self.chunk = chunk
        self.register_buffer("data", data.flatten(1))
        self.sigma_data = float(data.double().flatten(1).var(0, correction=0).mean().sqrt()) or 1.0
        self.register_buffer("labels", labels)

    def no_condition(self, condition: dict[str, Tensor]) -> dict[str, Tensor] | None:
        return blank(condition, "label")

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Posterior:
        if x_t.shape[1:] != self.event:
            raise ValueError(f"expected events of shape {self.event}, got {tuple(x_t.shape[1:])}")
        time = times(t, len(x_t), x_t.device)
        alpha = self.schedule.modes(self.event).alpha(time).reshape(len(x_t), -1)
        precision = 0.5 / (self.schedule.sigma(time)[:, None] ** 2).clamp(min=1e-30)
        x = self.schedule.to_modes(x_t.double()).flatten(1)
        best = x.new_full((len(x), 1), -torch.inf)
        total = torch.zeros_like(best)
        first, second = torch.zeros_like(x), torch.zeros_like(x)
        for start in range(0, len(self.data), self.chunk):
            points = self.data[start : start + self.chunk].double()
            scores = self._select(precision * self._closeness(x, alpha, points), start, condition)
            top = torch.maximum(best, scores.amax(1, keepdim=True))
            shift = torch.where(top.isinf(), 0.0, top)
            decay, weights = (best - shift).exp(), (scores - shift).exp()
            total = total * decay + weights.sum(1, keepdim=True)
            first = first * decay + weights @ points
            second = second * decay + weights @ points**2
            best = top
        if bool((total == 0).any()):
            raise ValueError("a label was asked for that no point of the data set has")
        mean = first / total
        variance = (second / total - mean**2).clamp(min=0.0)
        dtype = _state_type(x_t)
        return Posterior(mean.to(dtype).reshape(x_t.shape), variance.to(dtype).reshape(x_t.shape))

    def _closeness(self, x: Tensor, alpha: Tensor, points: Tensor) -> Tensor:
        """|x|^2 - |x - a y|^2 = 2 a x.y - a^2 |y|^2 of states and points, (batch, points)."""
        y = self.schedule.to_modes(points.reshape(-1, *self.event)).flatten(1)
        if alpha.shape[1] == 1:
            return alpha * (2.0 * x @ y.T - alpha * (y**2).sum(1))
        return 2.0 * (alpha * x) @ y.T - alpha**2 @ (y**2).T

    def _select(self, scores: Tensor, start: int, condition: dict[str, Tensor]) -> Tensor:
        label = condition.get("label")
        if label is None:
            return scores
        if self.labels is None:
            raise ValueError("this data set has no labels, so it cannot be conditioned on one")
        own = self.labels[start : start + self.chunk]
        return scores.masked_fill((own != label[:, None]) & (label[:, None] >= 0), -torch.inf)
