"""The neural networks: plain torch modules that know nothing of schedules or samplers."""

from unstir.networks.agents import Agents, AgentsSettings
from unstir.networks.build import MLPSettings, NetworkSettings, UNetSettings, build_network
from unstir.networks.classifier import NoisyClassifier
from unstir.networks.conditions import ConditionSettings, ImageEncoder
from unstir.networks.embeddings import ConditionEmbedding, NoiseEmbedding
from unstir.networks.mlp import MLP
from unstir.networks.spectral import Spectral, SpectralSettings
from unstir.networks.transformer import Transformer, TransformerSettings
from unstir.networks.unet import UNet
from unstir.networks.waveform import WaveformSettings, WaveformUNet

__all__ = [
    "MLP",
    "Agents",
    "AgentsSettings",
    "ConditionEmbedding",
    "ConditionSettings",
    "ImageEncoder",
    "MLPSettings",
    "NetworkSettings",
    "NoiseEmbedding",
    "NoisyClassifier",
    "Spectral",
    "SpectralSettings",
    "Transformer",
    "TransformerSettings",
    "UNet",
    "UNetSettings",
    "WaveformSettings",
    "WaveformUNet",
    "build_network",
]
