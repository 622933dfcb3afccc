"""Classifier guidance: follow the gradient of anything that can tell how well a noisy state fits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Literal

import torch
from torch import Tensor

from unstir.denoisers import Denoiser, Posterior
from unstir.guidance.strength import Weight, active, check_weight, check_window
from unstir.guidance.tilt import seen, shifted, watched
from unstir.processes import Schedule, as_float64, expand

Critic = Callable[..., Tensor]
"""(x, t, **condition) -> (batch,): log p(y | x) in nats, or minus an energy, up to a constant.

Each sample is judged for itself.
"""


class Classifier(Denoiser):
    r"""Guidance by a critic: the score plus the gradient of its log-probability.

    .. math:: \nabla \log p(x_t) + s\,\nabla_{x_t} \log p(y | x_t)

    With s = 1, an unconditional denoiser and p(y | x_t) of *noisy* states this is Bayes' rule, so samples are
    those of p(x_0 | y); other weights sharpen or soften p(y | x_t)^s.

    A critic that knows clean data only is asked about the estimate E[x_0 | x_t] instead (``of="x_0"``) and
    the gradient passes through the denoiser; this is exact for a linear log-probability of Gaussian data, and
    an approximation otherwise.

    Source: Dhariwal & Nichol 2021, "Diffusion models beat GANs on image synthesis", eq. 10 to 14 and
    algorithm 2 (algorithm 1 is `samplers.Ancestral` with this object's `gradient`); Song et al. 2021, eq. 14.
    Of the estimate: Bansal et al. 2023, "Universal guidance for diffusion models", eq. 6; Song et al. 2023,
    "Loss-guided diffusion models", eq. 7.

    Args:
        denoiser: any; differentiable if ``of`` is "x_0".
        critic: (x, t, **condition) -> (batch,), see `Critic`; differentiable in x.
        weight: s, at least 0; a number or one for each sample, (batch,).
        window: (low, high), the share of the log-SNR range -12 (noise) to 12 (data) in which to guide.
        of: "x_t" if the critic knows noisy states, "x_0" if it knows clean data only.
        conditional: which conditions the denoiser gets, too; the critic gets all. False for none (Bayes'
            rule, and the only choice for a denoiser that takes none), True for all (the conditional model is
            pushed further), or their names.

    Raises:
        ValueError: for a negative weight, a window that is not 0 <= low < high <= 1, or another ``of``. When
            called, if the critic's answer is not (batch,) or does not depend on x, or there are neither one
            weight nor as many as samples.
        FloatingPointError: when called, if the gradient is not finite where guidance acts.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        critic: Critic,
        weight: Weight = 1.0,
        window: tuple[float, float] = (0.0, 1.0),
        *,
        of: Literal["x_t", "x_0"] = "x_t",
        conditional: bool | Collection[str] = False,
    ) -> None:
        super().__init__()
        check_weight(weight, "0 means no guidance")
        check_window(window)
        if of not in ("x_t", "x_0"):
            raise ValueError(
                f'a critic is one of noisy states, of="x_t", or of clean data, of="x_0"; got {of!r}'
            )
        self.denoiser = denoiser
        self.schedule: Schedule = denoiser.schedule
        self.sigma_data = denoiser.sigma_data
        self.unconditional = denoiser.unconditional
        self.critic = critic
        self.weight = weight
        self.window = window
        self.of = of
        self.conditional = {conditional} if isinstance(conditional, str) else conditional

    def cost(self, t: float) -> int:
        """The denoiser's evaluations; where the gradient passes through it, its backward pass counts as much.

        The critic's own evaluations are not counted.
        """
        through = self.of == "x_0" and bool((self._strength(t) > 0).any())
        return self.denoiser.cost(t) * (2 if through else 1)

    def no_condition(self, condition: dict[str, Tensor]) -> dict[str, Tensor] | None:
        """As the denoiser says it; None with a weight for each sample, as rows then have their own."""
        return None if as_float64(self.weight).ndim else self.denoiser.no_condition(condition)

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Posterior:
        """The guided posterior; its variance stays that of the denoiser."""
        strength = self._strength(t)
        if not bool((strength > 0).any()):
            plain: Posterior = self.denoiser(x_t, t, **self._own(condition))
            return plain
        gradient, posterior = self._pull(x_t, t, strength, condition)
        if self.of == "x_t":
            posterior = self.denoiser(x_t, t, **self._own(condition))
        shift = shifted(self.schedule, x_t, seen(self.schedule, t), gradient)
        return Posterior(posterior.mean + shift, posterior.variance)

    def gradient(self, x_t: Tensor, t: Tensor | float, condition: Mapping[str, Tensor]) -> Tensor:
        """s grad log p(y | x_t), (batch, *event); 0 outside the window.

        Args:
            x_t: (batch, *event).
            t: scalar or (batch,), in [0, 1].
            condition: by name, for the critic.
        """
        strength = self._strength(t)
        if not bool((strength > 0).any()):
            return torch.zeros_like(x_t)
        return self._pull(x_t, t, strength, condition)[0]

    def _strength(self, t: Tensor | float) -> Tensor:
        """The weight where guidance acts, else 0; () or (batch,) float64. Clean data have no score."""
        acts = active(self.schedule, t, self.window) & (self.schedule.sigma(t) > 0)
        return as_float64(self.weight).to(acts.device) * acts

    def _own(self, condition: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The denoiser's share of the conditions."""
        if isinstance(self.conditional, bool):
            return dict(condition) if self.conditional else {}
        return {name: value for name, value in condition.items() if name in self.conditional}

    def _pull(
        self, x_t: Tensor, t: Tensor | float, strength: Tensor, condition: Mapping[str, Tensor]
    ) -> tuple[Tensor, Posterior]:
        """The weighted gradient by x_t, and what the critic was asked about; of x_0, it is the posterior."""
        if strength.ndim and len(strength) != len(x_t):
            raise ValueError(
                f"there are {len(strength)} guidance weights for {len(x_t)} samples; give one, or as many"
            )
        when = seen(self.schedule, t)
        with torch.enable_grad():
            x, nested = watched(x_t)
            through = Posterior(x) if self.of == "x_t" else self.denoiser(x, when, **self._own(condition))
            value = self.critic(through.mean, when, **condition)
            gradient = _differentiate(value, x, create_graph=nested)
            # Where guidance does not act, the critic may be undefined.
            gradient = torch.where(expand(strength, x) > 0, gradient * expand(strength, x), 0.0)
        if not bool(torch.isfinite(gradient).all()):
            level = float(self.schedule.log_snr(t).min())
            raise FloatingPointError(
                f"the gradient of the critic is not finite at the log-SNR {level:.4g}; check that its "
                "log-probability is finite and smooth there, or guide in a smaller window"
            )
        if nested:
            return gradient, through
        variance = None if through.variance is None else through.variance.detach()
        return gradient.detach(), Posterior(through.mean.detach(), variance)


def _differentiate(value: Tensor, x: Tensor, *, create_graph: bool) -> Tensor:
    """The gradient of a critic's answer (batch,) by the state.

    Raises:
        ValueError: if the answer has another shape or does not depend on the state.
    """
    if not isinstance(value, Tensor) or tuple(value.shape) != (len(x),):
        shape = f"the shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"a critic answers with one log-probability for each sample, ({len(x)},), but this one gave "
            f"{shape}"
        )
    gradient = None
    if value.requires_grad:
        (gradient,) = torch.autograd.grad(value.sum(), x, create_graph=create_graph, allow_unused=True)
    if gradient is None:
        raise ValueError(
            "the critic's answer does not depend on the state in a way that torch can differentiate; take "
            "care that nothing on the way is detached, rounded or computed under no_grad"
        )
    return gradient
