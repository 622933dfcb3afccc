"""The domains by name: one line each."""

from __future__ import annotations

from unstir.recipes import audio, fields, policy, scenarios
from unstir.recipes.domain import Domain

DOMAINS: dict[str, Domain] = {
    "audio": audio.DOMAIN,
    "fields": fields.DOMAIN,
    "policy": policy.DOMAIN,
    "scenarios": scenarios.DOMAIN,
}
"""By the name that is ``data.source`` in their settings."""
