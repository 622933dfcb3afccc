"""Nature's diffusions, solved forward: time-stepping with reactions, and a file for each system."""

# Not lazily: the function has its module's name, and would give way to the module at the second import.
from unstir.physics.evolve import Evolution, evolve

__all__ = ["Evolution", "evolve"]
