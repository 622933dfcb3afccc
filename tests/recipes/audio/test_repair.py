"""Gaps and coarse sounds: the baselines are exact where they should be, and the known stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unstir.model import Model, ModelConfig
from unstir.recipes.audio.mel import Mel
from unstir.recipes.audio.options import AudioOptions
from unstir.recipes.audio.repair import (
    bridged,
    coarser,
    inpaint,
    known_outside,
    repair_numbers,
    splined,
    upsample,
)
from unstir.recipes.splits import Splits
from unstir.training import ArrayData

pytest.importorskip("librosa")


def model(event=(1, 32)):
    """A model as it is before training: its posterior mean is a multiple of what it sees."""
    return Model(
        ModelConfig.model_validate(
            {
                "event": event,
                "network": {"kind": "waveform", "patch": 4, "width": 8, "multipliers": (1,)},
                "schedule": {"name": "vp"},
                "sigma_data": 0.5,
                "scale": (2.0,),
            }
        ),
        seed=0,
    )


def waves(n=2, cells=32):
    return torch.sin(0.4 * torch.arange(cells) + torch.arange(n)[:, None])[:, None]


def test_what_is_known_stays_and_the_gap_is_drawn():
    x, noise = waves(), 0.02
    found = inpaint(
        model(), torch.where(known_outside((1, 32), (8, 16)), x, torch.nan), (8, 16), n=6, noise=noise
    )
    assert found.samples.shape == (2, 6, 1, 32)
    outside = found.samples[..., [*range(8), *range(16, 32)]] - x[:, None][..., [*range(8), *range(16, 32)]]
    assert outside.square().mean().sqrt() < 2 * noise
    assert found.std[..., 8:16].min() > 3 * noise


def test_the_values_in_a_gap_are_not_looked_at():
    x = waves()
    other = x.clone()
    other[..., 8:16] = 7.0
    first, second = (inpaint(model(), given, (8, 16), n=2).samples for given in (x, other))
    assert torch.equal(first, second)


def test_the_means_of_a_finer_sound_are_those_given():
    x, noise = waves(), 0.02
    coarse = coarser((1, 32), torch.zeros(1, 1, 8))(x)
    found = upsample(model(), coarse, n=4, noise=noise)
    again = found.samples.unflatten(-1, (8, 4)).mean(-1)
    assert (again - coarse[:, None]).square().mean().sqrt() < 2 * noise


@pytest.mark.parametrize("gap", [(3, 9), (0, 5), (20, 32)])
def test_a_straight_line_is_bridged_exactly_inside_and_held_at_the_ends(gap):
    line = torch.linspace(-1.0, 2.0, 32).expand(2, 3, 32)
    start, stop = gap
    found = bridged(line, gap)
    if start > 0 and stop < 32:
        torch.testing.assert_close(found, line)
    else:
        edge = line[..., stop] if start == 0 else line[..., start - 1]
        torch.testing.assert_close(found[..., start:stop], edge[..., None].expand(2, 3, stop - start))


def test_a_spline_through_means_of_a_line_is_the_line():
    line = torch.linspace(-1.0, 2.0, 32, dtype=torch.float64).expand(2, 1, 32)
    coarse = line.unflatten(-1, (8, 4)).mean(-1)
    torch.testing.assert_close(splined(coarse, 32), line)


def test_distances_are_those_of_the_gap_and_of_all_and_a_perfect_guess_has_none():
    mel = Mel(bands=16, window=256, hop=64, frames=16, floor=-60.0)
    rng = np.random.default_rng(0)
    x = rng.uniform(-50.0, 0.0, (5, 1, 16, 16)).astype(np.float32)
    splits = Splits(ArrayData(x), ArrayData(x))
    options = AudioOptions(form="image", mel=mel)
    pictures = Model(
        ModelConfig.model_validate(
            {
                "event": (1, 16, 16),
                "network": {"kind": "unet", "width": 8, "multipliers": (1,)},
                "schedule": {"name": "vp"},
                "shift": (-25.0,),
                "scale": (30.0,),
            }
        )
    )
    found = repair_numbers(pictures, splits, options, sounds=3, n=2)
    assert set(found) == {"gap_sample_db", "gap_mean_db", "finer_2_sample_db", "finer_2_mean_db"}
    gap = bridged(torch.from_numpy(x[[0, 2, 4]]), (4, 6)).numpy()[..., 4:6]
    line = np.sqrt(np.square(gap - x[[0, 2, 4]][..., 4:6])[:, 0].mean(axis=1)).mean()
    assert found["gap_mean_db"].baseline == pytest.approx(line, rel=1e-5)
    assert found["gap_mean_db"].value < found["gap_sample_db"].value
    assert all(number.reference == 0 for number in found.values())


@pytest.mark.parametrize("gap", [(5, 5), (9, 3), (-1, 4), (30, 40), (0, 32)])
def test_a_gap_that_is_none_is_one_sentence(gap):
    with pytest.raises(ValueError, match="a gap lies within the 32 cells of the last axis"):
        inpaint(model(), waves(), gap)


def test_other_misuse_is_one_sentence():
    with pytest.raises(ValueError, match=r"the model's sounds have shape \(n, 1, 32\), got \(2, 1, 30\)"):
        inpaint(model(), waves(cells=30), (3, 5))
    with pytest.raises(ValueError, match="values outside of the gap that are not finite"):
        inpaint(model(), waves() * torch.nan, (3, 5))
    with pytest.raises(ValueError, match=r"have shape \(n, 1, 32 / factor\), got \(2, 1, 7\)"):
        upsample(model(), torch.zeros(2, 1, 7))
    with pytest.raises(ValueError, match="a sound holds values that are not finite"):
        upsample(model(), torch.full((2, 1, 8), torch.inf))
