"""The operator of a spreading: exp(tA), solve, functions of A, powers, the stationary density, reversal."""

from unstir.generators.build import diffusion, kernel, rates
from unstir.generators.dense import Dense
from unstir.generators.fourier import Fourier
from unstir.generators.generator import Generator, Plan
from unstir.generators.kronecker import Kronecker
from unstir.generators.sparse import Sparse
from unstir.generators.telegraph import Telegraph, telegraph

__all__ = [
    "Dense",
    "Fourier",
    "Generator",
    "Kronecker",
    "Plan",
    "Sparse",
    "Telegraph",
    "diffusion",
    "kernel",
    "rates",
    "telegraph",
]
