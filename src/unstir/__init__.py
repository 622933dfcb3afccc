"""unstir: diffusion, forward and back.

Simulate how things spread, and learn to run the spreading backwards, so that structure comes out of noise.
The names below are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "load": "unstir.model",
    "Model": "unstir.model",
    "sample": "unstir.samplers",
    "Solution": "unstir.samplers",
    "Denoiser": "unstir.denoisers",
    "Posterior": "unstir.denoisers",
    "Network": "unstir.denoisers",
    "Gaussian": "unstir.denoisers",
    "GaussianMixture": "unstir.denoisers",
    "Dataset": "unstir.denoisers",
    "FromFunction": "unstir.denoisers",
    "Schedule": "unstir.processes",
    "VP": "unstir.processes",
    "Cosine": "unstir.processes",
    "VE": "unstir.processes",
    "SubVP": "unstir.processes",
    "Flow": "unstir.processes",
    "from_betas": "unstir.processes",
    "ClassifierFree": "unstir.guidance",
    "UNet": "unstir.networks",
    "MLP": "unstir.networks",
    "train": "unstir.training",
    "from_diffusers": "unstir.interop",
    "Axis": "unstir.spaces",
    "Grid": "unstir.spaces",
    "Graph": "unstir.spaces",
    "Tree": "unstir.spaces",
    "diffusion": "unstir.generators",
    "evolve": "unstir.physics",
}

_ROOMS = (
    "denoisers",
    "evaluation",
    "generators",
    "guidance",
    "interop",
    "networks",
    "physics",
    "processes",
    "recipes",
    "samplers",
    "simulations",
    "spaces",
    "training",
)

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return import_module(f"unstir.{name}")
    raise AttributeError(f"module 'unstir' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from unstir.denoisers import Dataset as Dataset
    from unstir.denoisers import Denoiser as Denoiser
    from unstir.denoisers import FromFunction as FromFunction
    from unstir.denoisers import Gaussian as Gaussian
    from unstir.denoisers import GaussianMixture as GaussianMixture
    from unstir.denoisers import Network as Network
    from unstir.denoisers import Posterior as Posterior
    from unstir.generators import diffusion as diffusion
    from unstir.guidance import ClassifierFree as ClassifierFree
    from unstir.interop import from_diffusers as from_diffusers
    from unstir.model import Model as Model
    from unstir.model import load as load
    from unstir.networks import MLP as MLP
    from unstir.networks import UNet as UNet
    from unstir.physics import evolve as evolve
    from unstir.processes import VE as VE
    from unstir.processes import VP as VP
    from unstir.processes import Cosine as Cosine
    from unstir.processes import Flow as Flow
    from unstir.processes import Schedule as Schedule
    from unstir.processes import SubVP as SubVP
    from unstir.processes import from_betas as from_betas
    from unstir.samplers import Solution as Solution
    from unstir.samplers import sample as sample
    from unstir.spaces import Axis as Axis
    from unstir.spaces import Graph as Graph
    from unstir.spaces import Grid as Grid
    from unstir.spaces import Tree as Tree
    from unstir.training import train as train
