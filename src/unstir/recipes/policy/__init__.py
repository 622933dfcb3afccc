"""Diffusion Policy: actions from observations, learned from demonstrations."""

from unstir.recipes.domain import Domain
from unstir.recipes.policy import pusht
from unstir.recipes.policy.check import FILES, check, measure, panels
from unstir.recipes.policy.data import load, settings
from unstir.recipes.policy.task import Policy, Rollout, rollouts

DOMAIN = Domain(
    recipes={"policy": settings, "pusht": pusht.settings},
    load=load,
    check=check,
    measure=measure,
    panels=panels,
    files=FILES,
)
"""As `unstir` knows it."""

__all__ = ["DOMAIN", "Policy", "Rollout", "rollouts"]
