"""`unstir fit`: what it finds in measurements, how it writes it, and what it refuses."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.cli.commands import check_error, real, strays, tree

NEWICK = "((a:1,b:1.5):0.5,((c:0.7,d:0.9):0.4,e:1.1):0.6);"
PLACES = "tip,latitude,longitude\na,1,2\nb,2,3\nc,-3,4\nd,-4,6\ne,-2,5\n"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A recovery with a mobile fraction of 0.8 and k_off = 0.5 / s, and small trees."""
    place = tmp_path_factory.mktemp("measured")
    rng = np.random.default_rng(0)
    t = np.arange(-5.0, 12.0, 0.2)
    recovered = np.where(t < 0, 1.0, 1.0 - 0.6 * (0.2 + 0.8 * np.exp(-0.5 * np.clip(t, 0, None))))
    lines = [f"{a:.2f},{b:.5f}" for a, b in zip(t, recovered + 0.01 * rng.normal(size=len(t)), strict=True)]
    (place / "curve.csv").write_text("\n".join(["time,intensity", *lines]))
    (place / "gap.csv").write_text("\n".join(["time,intensity", *lines[:40], "3.1,", *lines[41:]]))
    (place / "flat.csv").write_text("\n".join(f"{n}\t1.0" for n in range(40)))
    (place / "tree.nwk").write_text(NEWICK)
    (place / "broken.nwk").write_text("((a:1,b:1")
    (place / "places.csv").write_text(PLACES)
    (place / "poles.csv").write_text(PLACES.replace("-4,6", "-94,6"))
    names = [f"r{i}" for i in range(12)]
    ring = [[1.0 * ((i - j) % 12 in (1, 11)) + 0.1 * (i != j) for j in range(12)] for i in range(12)]
    rows = "\n".join(",".join(map(str, row)) for row in ring)
    (place / "ring.csv").write_text(",".join(names) + "\n" + rows)
    (place / "oblique.csv").write_text(",".join(names) + "\n" + rows.replace("1.1", "3.0", 1))
    worn = [float(np.exp(-min(i, 12 - i))) + 0.01 * rng.normal() for i in range(12)]
    pairs = "\n".join(f"{name},{value:.4f}" for name, value in zip(names, worn, strict=True))
    (place / "worn.csv").write_text(f"region,tau\n{pairs}")
    (place / "regions.csv").write_text("tip,region\na,north\nb,north\nc,south\nd,south\ne,north\n")
    return place


def numbers(result):
    return json.loads(result)["parameters"]


def test_a_recovery_gives_back_the_rate_and_the_mobile_fraction_it_was_made_from(unstir, inputs):
    found = numbers(
        unstir.good(inputs, "fit", "frap", "curve.csv", "--radius", 1, "--model", "reaction", "--json")
    )
    for name, truth in (("k_off", 0.5), ("mobile", 0.8)):
        low, high = found[name]["profile"]
        assert low < truth < high
        assert found[name]["value"] == pytest.approx(truth, rel=0.1)


def test_several_curves_are_fitted_together_and_told_in_sentences(unstir, inputs):
    told = unstir.good(inputs, "fit", "frap", "curve.csv", "curve.csv", "--radius", 1, "--model", "reaction")
    assert told.startswith("2 curves: ")
    assert re.search(r"k_off = 0\.[45]\d* 1/s, 95 % interval", told)


def test_a_fit_is_written_as_a_page_that_needs_nothing_else_a_picture_and_numbers(unstir, inputs, tmp_path):
    command = ["fit", "frap", inputs / "curve.csv", "--radius", 1, "--model", "reaction"]
    for name in ("x.html", "x.png", "x.json"):
        assert unstir.good(tmp_path, *command, "--out", name).splitlines()[-1] == f"written: {name}"
    page = (tmp_path / "x.html").read_text()
    assert "<svg" in page
    assert "k off" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert Image.open(tmp_path / "x.png").width > 600
    assert numbers((tmp_path / "x.json").read_text())["k_off"]["unit"] == "1/s"
    assert sorted(tree(tmp_path)) == ["x.html", "x.json", "x.png"]


def test_a_tree_with_places_gives_a_diffusion_coefficient_and_one_with_regions_rates(
    unstir, inputs, tmp_path
):
    told = json.loads(
        unstir.good(inputs, "fit", "tree", "tree.nwk", "--locations", "places.csv", "--json",
                    "--out", tmp_path / "tree.png")
    )  # fmt: skip
    low, high = told["locations"]["D_interval"]
    assert 0 < low < told["locations"]["D_km2_per_unit"] < high
    assert Image.open(tmp_path / "tree.png").width > 600
    told = json.loads(
        unstir.good(
            inputs, "fit", "tree", "tree.nwk", "--regions", "regions.csv", "--model", "equal", "--json"
        )
    )
    assert told["regions"]["names"] == ["north", "south"]
    assert told["regions"]["log_likelihood"] < 0


def test_a_connectome_gives_the_region_where_the_disease_began(unstir, inputs):
    told = json.loads(unstir.good(inputs, "fit", "connectome", "ring.csv", "worn.csv", "--json"))
    assert told["seed"] == "r0"
    assert unstir.good(inputs, "fit", "connectome", "ring.csv", "worn.csv", "--seed-region", "r0")


WRONG = {
    "no curve file": (["frap", "missing.csv", "--radius", "1"], 2, "there is no file missing.csv"),
    "a gap": (["frap", "gap.csv", "--radius", "1"], 2, "gap.csv, line 42"),
    "no recovery": (["frap", "flat.csv", "--radius", "1"], 2, "flat.csv"),
    "radius": (["frap", "curve.csv", "--radius", "-1"], 2, "radius"),
    "model": (["frap", "curve.csv", "--radius", "1", "--model", "reacton"], 2, "did you mean 'reaction'?"),
    "level": (["frap", "curve.csv", "--radius", "1", "--level", "95"], 2, "level"),
    "format": (
        ["frap", "curve.csv", "--radius", "1", "--out", "x.pdf"],
        2,
        "a fit is written as .png, .html, .json, got 'x.pdf'",
    ),
    "a table that is a tree": (["frap", "tree.nwk", "--radius", "1"], 2, "tree.nwk"),
    "no tree": (["tree", "missing.nwk"], 2, "there is no file missing.nwk"),
    "broken tree": (["tree", "broken.nwk", "--locations", "places.csv"], 2, "broken.nwk"),
    "no places": (["tree", "tree.nwk"], 2, "tree"),
    "beyond the pole": (["tree", "tree.nwk", "--locations", "poles.csv"], 2, "latitude"),
    "rates": (
        ["tree", "tree.nwk", "--regions", "regions.csv", "--model", "symetric"],
        2,
        "did you mean 'symmetric'?",
    ),
    "no matrix": (["connectome", "missing.csv", "worn.csv"], 2, "there is no file missing.csv"),
    "oblique": (["connectome", "oblique.csv", "worn.csv"], 2, "symmetric"),
    "column": (["connectome", "ring.csv", "worn.csv", "--column", "tay"], 2, "did you mean 'tau'?"),
    "seed": (["connectome", "ring.csv", "worn.csv", "--seed-region", "r99"], 2, "r99"),
    "read-only": (
        ["frap", "curve.csv", "--radius", "1", "--model", "reaction", "--out", "/proc/x.html"],
        1,
        "cannot read or write /proc",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_be_fitted_is_one_sentence_and_writes_nothing(kind, unstir, inputs):
    arguments, code, sentence = WRONG[kind]
    before = tree(inputs)
    check_error(unstir(inputs, "fit", *arguments), code, sentence)
    assert tree(inputs) == before


def test_a_full_disk_leaves_the_old_page_and_no_stray_files(unstir, inputs, tmp_path):
    (tmp_path / "x.html").write_bytes(b"old")
    command = ["fit", "frap", inputs / "curve.csv", "--radius", 1, "--model", "reaction", "--out", "x.html"]
    check_error(unstir(tmp_path, *command, limit=500), 1, "cannot read or write x.html: File too large")
    assert (tmp_path / "x.html").read_bytes() == b"old"
    assert strays(tmp_path) == []


def test_an_option_that_is_missing_is_misuse(tmp_path):
    result = real(tmp_path, "fit", "frap", "curve.csv")
    assert result.code == 2
    assert "--radius" in result.stderr
