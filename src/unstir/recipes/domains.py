"""The domains by name: one line each."""

from __future__ import annotations

from unstir.recipes.domain import Domain

DOMAINS: dict[str, Domain] = {}
"""By the name that is ``data.source`` in their settings."""
