"""Denoisers of discrete data known exactly: a list of sequences, independent entries, a Markov chain.

They are what every sampler of jump processes is measured against. A network takes their place as a subclass
of `DiscreteDenoiser` whose forward is the softmax of its logits; trained by cross-entropy against x_0 on
draws of ``process.sample(x_0, t)`` it tends to the same posterior.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from unstir import noise
from unstir.processes.jump import Jump, categorical

_NEVER = -1e5
"""The logarithm of an impossibility: sums of it stay finite, and count how often there is one."""
_RARE = 1e-100
"""An impossibility where numbers are not logarithms; a product of two or three is still above 0."""


class DiscreteDenoiser(nn.Module, ABC):
    """Estimates the clean states behind noisy ones.

    A subclass sets ``process``, ``event`` (the shape of a sample) and gives `forward`.
    """

    process: Jump
    event: tuple[int, ...]

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Tensor:
        """p(x_0 = k | x_t) of each entry given all of ``x_t``, (batch, *event, K), sums 1.

        Args:
            x_t: (batch, *event) int64.
            t: scalar or (batch,), in [0, 1].
            **condition: (batch, ...) tensors by name.
        """


class ExactDiscrete(DiscreteDenoiser):
    """A joint law of the data that is known, so that its posterior is too.

    Entries that a sampler draws together may contradict each other. The posterior of a state that nothing can
    have become is that of the data which contradict it least often.
    """

    @abstractmethod
    def sample_data(self, count: int, *, seed: int = 0, first_index: int = 0) -> Tensor:
        """Draw ``count`` samples of the data, (count, *event) int64."""

    @abstractmethod
    def log_probability(self, x_0: Tensor) -> Tensor:
        """log p(x_0) in nats, (batch,) float64, -inf for what does not occur."""

    def _log_likelihood(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        """log P(x_t | x_0 = k) of each entry, (batch, *event, K), finite."""
        if x_t.shape[1:] != self.event:
            raise ValueError(f"expected events of shape {self.event}, got {tuple(x_t.shape[1:])}")
        return self.process.likelihood(x_t, 0.0, t).log().clamp(min=_NEVER)


class Sequences(ExactDiscrete):
    r"""Data from a finite list: the denoiser that a network would reach by memorising.

    .. math:: p(x_0 = n | x_t) \propto w_n \prod_i q(x_{t,i} | x_{n,i})

    Source: Bayes' rule with the factorised forward process of Austin et al. 2021, section 2.

    Args:
        process: the jump process.
        data: (N, *event) int64 states; one-hot they take N x entries x K numbers.
        weights: (N,) at least 0, normalised here; equal by default.

    Raises:
        ValueError: for an empty list, states that do not exist, or weights that do not match.
    """

    data: Tensor
    one_hot: Tensor
    log_weights: Tensor

    def __init__(self, process: Jump, data: Tensor, weights: Tensor | None = None) -> None:
        super().__init__()
        self.process = process
        self.event = tuple(data.shape[1:])
        if len(data) == 0:
            raise ValueError("the list of sequences is empty")
        _check_states(data, process.states)
        self.register_buffer("data", data)
        flat = torch.nn.functional.one_hot(data.reshape(len(data), -1), process.states)
        self.register_buffer("one_hot", flat.double().flatten(1))
        weights = torch.ones(len(data)) if weights is None else weights
        if weights.shape != (len(data),) or bool((weights < 0).any()) or not bool((weights > 0).any()):
            raise ValueError(f"weights holds one number of at least 0 for each of {len(data)} sequences")
        self.register_buffer("log_weights", (weights.double() / weights.double().sum()).log())

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Tensor:
        posterior = self.sequence_posterior(x_t, t)
        return (posterior @ self.one_hot).reshape(*x_t.shape, self.process.states)

    def sequence_posterior(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        """The probability of each sequence of the list given ``x_t``, (batch, N)."""
        scores = self._log_likelihood(x_t, t).flatten(1) @ self.one_hot.mT + self.log_weights
        return scores.softmax(1)

    def sample_data(self, count: int, *, seed: int = 0, first_index: int = 0) -> Tensor:
        law = self.log_weights.exp().expand(count, -1)
        index = torch.arange(first_index, first_index + count, device=law.device)
        return self.data[categorical(law, seed=seed, index=index, stream=noise.Stream.DATA)]

    def log_probability(self, x_0: Tensor) -> Tensor:
        same = (x_0.flatten(1)[:, None] == self.data.flatten(1)).all(-1)
        return torch.where(same, self.log_weights, -torch.inf).logsumexp(1)


class Independent(ExactDiscrete):
    r"""Entries that know nothing of each other: p(x_0 | x_t) is proportional to p(x_0) q(x_t | x_0).

    Args:
        process: the jump process.
        law: (*event, K) of at least 0, normalised over the last axis.

    Raises:
        ValueError: for a law that does not match the states of the process.
    """

    law: Tensor

    def __init__(self, process: Jump, law: Tensor) -> None:
        super().__init__()
        self.process = process
        self.event = tuple(law.shape[:-1])
        self.register_buffer("law", _law(law, process.states))

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Tensor:
        scores = self._log_likelihood(x_t, t) + self.law.log().clamp(min=_NEVER)
        return scores.softmax(-1)

    def sample_data(self, count: int, *, seed: int = 0, first_index: int = 0) -> Tensor:
        index = torch.arange(first_index, first_index + count, device=self.law.device)
        law = self.law.expand(count, *self.law.shape)
        return categorical(law, seed=seed, index=index, stream=noise.Stream.DATA)

    def log_probability(self, x_0: Tensor) -> Tensor:
        law = self.law.expand(len(x_0), *self.law.shape)
        return law.gather(-1, x_0[..., None])[..., 0].log().flatten(1).sum(1)


class MarkovChain(ExactDiscrete):
    r"""Sequences in which each entry depends on the one before; the posterior by forward-backward.

    .. math:: p(x_{0,i} | x_t) \propto f_i\, b_i,\quad f_{i+1} = (f_i M) q_{i+1},\quad
              b_i = M (q_{i+1} b_{i+1})

    Source: Rabiner 1989, section III (the noisy entries are the emissions of a hidden Markov model).

    Args:
        process: the jump process.
        initial: (K,) law of the first entry.
        transition: (K, K), [i, j] the probability of j after i, or (length - 1, K, K).
        length: number of entries.

    Raises:
        ValueError: for laws that do not match the states of the process, or a length below 1.
    """

    initial: Tensor
    transition: Tensor

    def __init__(self, process: Jump, initial: Tensor, transition: Tensor, length: int) -> None:
        super().__init__()
        if length < 1:
            raise ValueError(f"a chain has at least 1 entry, got {length}")
        self.process = process
        self.event = (length,)
        self.register_buffer("initial", _law(initial, process.states))
        k = process.states
        if transition.shape not in ((k, k), (length - 1, k, k)):
            raise ValueError(
                f"the transition of a chain of {length} entries and {k} states is {(k, k)} or "
                f"{(length - 1, k, k)}, got {tuple(transition.shape)}"
            )
        self.register_buffer("transition", _law(transition, k).expand(length - 1, k, k))

    def forward(self, x_t: Tensor, t: Tensor | float, **condition: Tensor) -> Tensor:
        scores = self._log_likelihood(x_t, t)
        # Each entry's likelihoods matter up to a factor only, and so do the messages.
        emission = (scores - scores.amax(-1, keepdim=True)).exp().clamp(min=_RARE)
        transition = self.transition.clamp(min=_RARE)
        ahead = [self.initial.clamp(min=_RARE) * emission[:, 0]]
        for i in range(1, self.event[0]):
            message = _scaled(ahead[-1])
            ahead.append(message @ transition[i - 1] * emission[:, i])
        back = [torch.ones_like(ahead[0])]
        for i in range(self.event[0] - 1, 0, -1):
            back.append(_scaled((emission[:, i] * back[-1]) @ transition[i - 1].mT))
        both = torch.stack(ahead, 1) * torch.stack(back[::-1], 1)
        return both / both.sum(-1, keepdim=True)

    def sample_data(self, count: int, *, seed: int = 0, first_index: int = 0) -> Tensor:
        index = torch.arange(first_index, first_index + count, device=self.initial.device)
        stream = noise.Stream.DATA
        x = [categorical(self.initial.expand(count, -1), seed=seed, index=index, stream=stream)]
        for i in range(1, self.event[0]):
            row = self.transition[i - 1][x[-1]]
            x.append(categorical(row, seed=seed, index=index, stream=stream, step=i))
        return torch.stack(x, 1)

    def log_probability(self, x_0: Tensor) -> Tensor:
        total = self.initial.log()[x_0[:, 0]]
        for i in range(1, self.event[0]):
            total = total + self.transition[i - 1].log()[x_0[:, i - 1], x_0[:, i]]
        return total


def _scaled(message: Tensor) -> Tensor:
    return message / message.sum(-1, keepdim=True)


def _check_states(x: Tensor, states: int) -> None:
    if x.is_floating_point() or bool((x < 0).any()) or bool((x >= states).any()):
        raise ValueError(f"discrete data are integers from 0 to {states - 1}")


def _law(law: Tensor, states: int) -> Tensor:
    law = law.double()
    total = law.sum(-1, keepdim=True)
    if law.shape[-1] != states or bool((law < 0).any()) or not bool((total > 0).all()):
        raise ValueError(
            f"a law has {states} numbers of at least 0 with a positive sum, got shape {tuple(law.shape)}"
        )
    return law / total
