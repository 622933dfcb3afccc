"""Systems that run by name, ``unstir simulate NAME``: each is one file here and one line in NAMES."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from unstir.settings import nearest
from unstir.simulations.simulation import Report, Simulation, System, frame_indices

NAMES: dict[str, str] = {
    # name: module, in alphabetical order
    "blurring": "unstir.simulations.blurring",
    "graph-heat": "unstir.simulations.graph_heat",
    "backward-heat": "unstir.simulations.backward_heat",
    "cattaneo": "unstir.simulations.cattaneo",
    "heat": "unstir.simulations.heat",
    "barriers": "unstir.simulations.barriers",
    "integrodifference": "unstir.simulations.integrodifference",
    "drug-capsule": "unstir.simulations.drug_capsule",
    "electrode": "unstir.simulations.electrode",
    "connectome": "unstir.simulations.connectome",
    "frap": "unstir.simulations.frap",
    "goldman": "unstir.simulations.goldman",
    "krogh": "unstir.simulations.krogh",
    "poisson-nernst-planck": "unstir.simulations.poisson_nernst_planck",
    "phylogeography": "unstir.simulations.phylogeography",
    "porous": "unstir.simulations.porous",
    "regions": "unstir.simulations.regions",
    "solid-kinetics": "unstir.simulations.solid_kinetics",
    "carbon-in-iron": "unstir.simulations.carbon_in_iron",
    "discrete-diffusion": "unstir.simulations.discrete_diffusion",
    "markov-chain": "unstir.simulations.markov_chain",
    "brownian": "unstir.simulations.brownian",
    "fokker-planck": "unstir.simulations.fokker_planck",
    "ftcs": "unstir.simulations.ftcs",
    "random-walk": "unstir.simulations.random_walk",
    "brusselator": "unstir.simulations.brusselator",
    "fisher-kpp": "unstir.simulations.fisher_kpp",
    "gray-scott": "unstir.simulations.gray_scott",
    "rhoa-band": "unstir.simulations.rhoa_band",
    "schnakenberg": "unstir.simulations.schnakenberg",
    "wright-fisher": "unstir.simulations.wright_fisher",
    "facilitated-diffusion": "unstir.simulations.facilitated_diffusion",
}
"""Where each system is, by name; modules are imported when they are asked for."""


def find_system(name: str) -> System[Any]:
    """The system of a name; underscores count as dashes.

    Raises:
        ValueError: for an unknown name, with the nearest known one.
    """
    key = name.strip().lower().replace("_", "-")
    if key not in NAMES:
        raise ValueError(f"unknown system {name!r}; {nearest(key, sorted(NAMES))}")
    system: System[Any] = import_module(NAMES[key]).SYSTEM
    return system


def systems() -> dict[str, System[Any]]:
    """Every system by name, in alphabetical order."""
    return {name: find_system(name) for name in sorted(NAMES)}


__all__ = ["NAMES", "Report", "Simulation", "System", "find_system", "frame_indices", "systems"]
