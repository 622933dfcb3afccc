"""What can be seen through noise: exact denoisers and the learned one."""

from unstir.denoisers.denoiser import Denoiser, Posterior, Rescheduled
from unstir.denoisers.density import GridDensity
from unstir.denoisers.discrete import (
    DiscreteDenoiser,
    ExactDiscrete,
    Independent,
    MarkovChain,
    Sequences,
)
from unstir.denoisers.exact import Dataset, Gaussian, GaussianMixture
from unstir.denoisers.forward_density import ForwardDensity
from unstir.denoisers.function import FromFunction
from unstir.denoisers.graph_density import GraphDensity
from unstir.denoisers.linear_posterior import given
from unstir.denoisers.network import Network

__all__ = [
    "Dataset",
    "Denoiser",
    "DiscreteDenoiser",
    "ExactDiscrete",
    "ForwardDensity",
    "FromFunction",
    "Gaussian",
    "GaussianMixture",
    "GraphDensity",
    "GridDensity",
    "Independent",
    "MarkovChain",
    "Network",
    "Posterior",
    "Rescheduled",
    "Sequences",
    "given",
]
