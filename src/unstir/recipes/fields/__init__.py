"""Two fields that an equation joins: solving it, inverting it, and how sure one may be of either."""

from unstir.recipes.domain import Domain
from unstir.recipes.fields.check import check
from unstir.recipes.fields.data import load
from unstir.recipes.fields.defaults import darcy, reaction, settings
from unstir.recipes.fields.measure import measure
from unstir.recipes.fields.pictures import panels, write_picture

DOMAIN = Domain(
    recipes={"fields": settings, "darcy": darcy, "reaction": reaction},
    load=load,
    check=check,
    measure=measure,
    panels=panels,
    files={".png": write_picture},
)
"""What the command line knows of fields."""
