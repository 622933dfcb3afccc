"""The systems on trees: phylogeography and regions, and what they measure."""

import torch

from tests.helpers import close
from unstir.simulations import find_system
from unstir.simulations.render import draw_frame


def test_the_outbreak_is_told_from_its_tips():
    simulation = find_system("phylogeography").simulate(tips=30, frames=12, seed=5)
    a = simulation.arrays
    close(a["mean"][a["tips"]], a["truth"][a["tips"]], atol=1e-9)
    assert float(a["radius"][a["tips"]].max()) == 0.0
    gap = simulation.facts["likelihood against the dense normal"]
    assert float(gap.split()[-1]) < 1e-9
    # Chi-squared of two directions at 95 %, averaged over many outbreaks.
    inside = []
    for seed in range(15):
        a = find_system("phylogeography").simulate(tips=30, frames=12, seed=seed).arrays
        known = torch.zeros(len(a["time"]), dtype=torch.bool)
        known[a["tips"]] = True
        inside.append(float(((a["truth"] - a["mean"]).norm(dim=-1) < a["radius"])[~known].double().mean()))
    mean = sum(inside) / 15
    deviation = float(torch.tensor(inside).std()) / 15**0.5
    assert abs(mean - 0.945) < 4 * deviation + 0.015
    assert draw_frame(simulation, 6).size[0] > 500


def test_regions_are_counted_as_they_were_and_as_told():
    simulation = find_system("regions").simulate(tips=60, frames=10, seed=2)
    a = simulation.arrays
    assert a["lineages_true"].shape == a["lineages_told"].shape == (10, 4)
    close(a["lineages_true"].sum(1), a["lineages_told"].sum(1), atol=1e-9)
    close(a["lineages_true"][-1], a["lineages_told"][-1], atol=1e-9)
    gap = simulation.facts["log-likelihood"]
    assert float(gap.split()[-1]) < 1e-8
    assert draw_frame(simulation, -1).size[0] > 500
