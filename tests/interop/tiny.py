"""Small networks of diffusers with random weights, all of which react to time, state and condition."""

from __future__ import annotations

import diffusers
import torch
from torch import Tensor

from unstir import noise

BATCH = 2


def unet(channels: int = 3, **options):
    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        sample_size=8,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        **options,
    ).eval()


def conditional_unet(**options):
    torch.manual_seed(1)
    return diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        cross_attention_dim=6,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **options,
    ).eval()


def dit(learned: bool = True):
    torch.manual_seed(2)
    return diffusers.DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8 if learned else 4,
        num_layers=2,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=1000,
    ).eval()


def start(channels: int = 3, batch: int = BATCH) -> Tensor:
    index = torch.arange(batch)
    return noise.normal((channels, 8, 8), seed=5, index=index, stream=noise.Stream.START)


@torch.no_grad()
def run(scheduler, network, x: Tensor, *, channels: int | None = None, **arguments) -> Tensor:
    """Diffusers' own loop: its scheduler, its integer timesteps."""
    for t in scheduler.timesteps:
        output = network(x, t.expand(len(x)), **arguments).sample
        x = scheduler.step(output[:, :channels], t, x).prev_sample
    return x


def difference(left: Tensor, right: Tensor) -> float:
    """The largest difference as a share of the right side's typical entry."""
    left, right = left.detach(), right.detach()
    return float((left - right).abs().max() / right.square().mean().sqrt())
