"""Pairs of fields for training: made on the spot, or read from a file; and what the model is told of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from unstir.recipes.fields.known import Known
from unstir.recipes.fields.options import FieldOptions
from unstir.recipes.fields.pairs import read_pairs
from unstir.recipes.fields.problems import NAMES, problem_of
from unstir.recipes.settings import DataSettings
from unstir.recipes.splits import Rows, Splits
from unstir.settings import parse_settings
from unstir.training import ArrayData, Scaling
from unstir.training.data import Array, ConditionArray


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of fields in the units of the data.

    Attributes:
        x: (n, first + second channels, *space), finite.
        channels: number of channels of the first and of the second field.
        names: what the two are.
    """

    x: Array
    channels: tuple[int, int]
    names: tuple[str, str]


def options_of(data: DataSettings) -> FieldOptions:
    """The recipe's own settings.

    Raises:
        ValueError: for an unknown one, with the nearest name, or a wrong value.
    """
    return parse_settings(FieldOptions, data.options)


def pairs_of(data: DataSettings) -> Pairs:
    """All pairs: those of the file ``data.path``, or new ones of the problem.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no pairs of fields, or the problem cannot be.
    """
    options = options_of(data)
    if data.path is not None:
        first, second, names = read_pairs(data.path, options.first, options.second)
        if data.limit is not None:
            first, second = first[: data.limit], second[: data.limit]
        x = np.concatenate([first, second], axis=1)
        return Pairs(x, (first.shape[1], second.shape[1]), names)
    n = options.samples if data.limit is None else min(data.limit, options.samples)
    return Pairs(_made(options, n, data.seed), (1, 1), NAMES[options.problem])


@lru_cache(maxsize=2)
def _made(options: FieldOptions, n: int, seed: int) -> Array:
    """Pairs of a problem, (n, 2, *space); kept, because a run is trained, measured and shown on the same."""
    problem = problem_of(options)
    parts = []
    for start in range(0, n, 1024):
        fields = problem.draw(min(1024, n - start), seed, first_index=start)
        parts.append(torch.cat(fields, dim=1))
    return torch.cat(parts).numpy()


def load(data: DataSettings) -> Splits:
    """Training and held-out pairs, every channel to mean 0 and deviation 1 over the training pairs.

    Joint: events (first + second channels, *space) with the condition ``known`` of the same shape, NaN where
    nothing is known. Conditional: events are the second field, the condition ``source`` is the first.

    Raises:
        FileNotFoundError: as in `pairs_of`.
        ValueError: as there, for fewer than 20 pairs, a constant field, or joint fields of several channels.
    """
    options = options_of(data)
    pairs = pairs_of(data)
    n = len(pairs.x)
    if n < 20:
        raise ValueError(f"there are {n} pairs of fields; at least 20 are needed to train and hold some out")
    order = np.random.default_rng(data.seed).permutation(n)
    held = max(2, round(n * data.heldout))
    train, heldout = np.sort(order[held:]), np.sort(order[:held])
    scaling = _standardised(pairs.x, train)
    if options.mode == "conditional":
        return Splits(_conditional(pairs, train, scaling), _conditional(pairs, heldout, scaling))
    if pairs.channels != (1, 1):
        raise ValueError(
            f"joint models know pairs of one channel each, and these have {pairs.channels[0]} and "
            f"{pairs.channels[1]}; set data.options.mode=conditional, or bring both to one grid if these are "
            "cells"
        )
    many = np.tile(train, options.draws)
    return Splits(
        _joint(pairs, many, scaling, options, data.seed),
        _joint(pairs, heldout, scaling, options, data.seed + 1),
    )


def _joint(
    pairs: Pairs, rows: NDArray[np.int64], scaling: Scaling, options: FieldOptions, seed: int
) -> ArrayData:
    cells = int(np.prod(pairs.x.shape[2:]))
    low, high = (min(count, cells) for count in options.sensors)
    known = Known(
        pairs.x,
        rows=rows,
        noise_levels=tuple(options.noise * scale for scale in scaling.scale),
        shares=options.shares,
        counts=(low, high),
        seed=seed,
    )
    condition = ConditionArray(known, how="channels", scaling=scaling)  # type: ignore[arg-type]
    x: Array = Rows(pairs.x, rows)  # type: ignore[assignment]
    return ArrayData(x, scaling=scaling, conditions={"known": condition})


def _conditional(pairs: Pairs, rows: NDArray[np.int64], scaling: Scaling) -> ArrayData:
    c = pairs.channels[0]
    first = Scaling(scaling.shift[:c], scaling.scale[:c])
    second = Scaling(scaling.shift[c:], scaling.scale[c:])
    condition = ConditionArray(pairs.x[rows, :c], how="channels", scaling=first)
    return ArrayData(pairs.x[rows, c:], scaling=second, conditions={"source": condition})


def _standardised(x: Array, rows: NDArray[np.int64]) -> Scaling:
    """Mean and deviation of each channel over some rows."""
    axes = (0, *range(2, x.ndim))
    part = np.asarray(x[rows], dtype=np.float64)
    mean, std = part.mean(axes), part.std(axes)
    flat = std <= 1e-12 * np.abs(mean) + 1e-300
    if bool(flat.any()):
        raise ValueError(
            f"every value of channel {int(flat.argmax())} of the fields is {mean[flat.argmax()]:g}; there is "
            "nothing to learn"
        )
    return Scaling(tuple(mean.tolist()), tuple(std.tolist()))
