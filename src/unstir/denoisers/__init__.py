"""What can be seen through noise: exact denoisers and the learned one."""

from unstir.denoisers.denoiser import Denoiser, Posterior, Rescheduled
from unstir.denoisers.exact import Dataset, Gaussian, GaussianMixture
from unstir.denoisers.function import FromFunction
from unstir.denoisers.network import Network

__all__ = [
    "Dataset",
    "Denoiser",
    "FromFunction",
    "Gaussian",
    "GaussianMixture",
    "Network",
    "Posterior",
    "Rescheduled",
]
