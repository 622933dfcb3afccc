"""The main job end to end: demo, evaluate, report, as processes; and the page in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.commands import ENVIRONMENT, MODULE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def unstir(cwd: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*MODULE, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The demo with a tenth of its training."""
    folder = tmp_path_factory.mktemp("demo")
    result = unstir(folder, "demo", "--samples", 40_000)
    assert result.returncode == 0, result.stderr
    return folder / "runs" / "demo", result.stdout


@pytest.mark.slow
def test_a_shortened_demo_draws_digits_that_the_judge_recognises(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    figures = json.loads((folder / "evaluation.json").read_text())["figures"]
    assert figures["label_accuracy"]["heldout"] >= 0.97
    assert figures["label_accuracy"]["samples"] >= 0.80
    assert 0.8 < figures["nearest_distance"]["ratio"] < 1.6
    assert figures["recall"]["samples"] > 0.5


@pytest.mark.slow
def test_the_demo_says_where_its_results_are(demo: tuple[Path, str]) -> None:
    folder, output = demo
    flat = output.replace("\n", "")
    for name in ("report.html", "samples/digits.png"):
        assert (folder / name).is_file()
        assert name in flat


@pytest.mark.slow
def test_evaluate_prints_json_and_is_reproducible(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    runs = [unstir(folder, "evaluate", folder, "--json", "-n", 200, "--steps", 6) for _ in range(2)]
    assert [run.returncode for run in runs] == [0, 0]
    first, second = (json.loads(run.stdout) for run in runs)
    assert first["figures"] == second["figures"]
    assert first["sampling"]["nfe"] == 6
    assert first["judge"]["heldout_accuracy"] >= 0.97


@pytest.mark.slow
def test_the_report_needs_nothing_but_itself(demo: tuple[Path, str]) -> None:
    page = (demo[0] / "report.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert "url(http" not in page


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed to open the report with")
def test_the_film_of_the_report_can_be_stepped_and_played_in_a_browser(
    demo: tuple[Path, str], tmp_path: Path
) -> None:
    probe = """<script>
      const thumbs = [...document.querySelectorAll(".strip img")], frame = document.getElementById("frame");
      const slider = document.getElementById("slider");
      const loaded = [...document.images].every((i) => i.complete && i.naturalWidth > 0);
      thumbs[0].click();
      const first = frame.src === thumbs[0].src && slider.value === "0";
      slider.value = 3; slider.dispatchEvent(new Event("input"));
      const moved = frame.src === thumbs[3].src && thumbs[3].classList.contains("shown");
      document.getElementById("play").click();
      const playing = document.getElementById("play").textContent === "Stop";
      document.title = JSON.stringify({loaded, first, moved, playing, panels: document.querySelectorAll(".panel").length});
    </script>"""  # noqa: E501
    page = tmp_path / "page.html"
    page.write_text((demo[0] / "report.html").read_text().replace("</body>", probe + "</body>"))
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--no-first-run",
    ]
    command = [str(CHROMIUM), *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r"<title>(\{.*?\})</title>", dom)
    assert found, dom[:500]
    seen = json.loads(found.group(1))
    assert seen == {"loaded": True, "first": True, "moved": True, "playing": True, "panels": 8}


@pytest.mark.slow
def test_points_get_a_report_too(tmp_path: Path) -> None:
    trained = unstir(tmp_path, "train", "two-moons", "--samples", 20_000, "--set", "data.limit=2000")
    assert trained.returncode == 0, trained.stderr
    result = unstir(tmp_path, "report", "runs/two-moons")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "runs/two-moons/report.html").stat().st_size > 50_000


def test_evaluating_what_is_not_a_run_is_one_sentence(tmp_path: Path) -> None:
    result = unstir(tmp_path, "evaluate", "nowhere")
    assert result.returncode == 2
    assert result.stderr.startswith("error: there is no folder nowhere")
    assert "Traceback" not in result.stderr
