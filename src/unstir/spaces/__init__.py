"""Where things spread: axes with boundary conditions, grids, graphs, and trees (clocks that branch)."""

from unstir.spaces.axis import Axis
from unstir.spaces.boundary import Absorb, Boundary, Flux, Periodic, Reflect, Robin, Value
from unstir.spaces.graph import Graph
from unstir.spaces.grid import Grid, Wall
from unstir.spaces.tree import Tree

__all__ = [
    "Absorb",
    "Axis",
    "Boundary",
    "Flux",
    "Graph",
    "Grid",
    "Periodic",
    "Reflect",
    "Robin",
    "Tree",
    "Value",
    "Wall",
]
