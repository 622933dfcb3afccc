"""The neural networks: plain torch modules that know nothing of schedules or samplers."""

from unstir.networks.build import MLPSettings, NetworkSettings, UNetSettings, build_network
from unstir.networks.classifier import NoisyClassifier
from unstir.networks.conditions import ConditionSettings, ImageEncoder
from unstir.networks.embeddings import ConditionEmbedding, NoiseEmbedding
from unstir.networks.mlp import MLP
from unstir.networks.unet import UNet

__all__ = [
    "MLP",
    "ConditionEmbedding",
    "ConditionSettings",
    "ImageEncoder",
    "MLPSettings",
    "NetworkSettings",
    "NoiseEmbedding",
    "NoisyClassifier",
    "UNet",
    "UNetSettings",
    "build_network",
]
