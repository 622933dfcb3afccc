"""Runs that are interrupted or killed go on as if nothing had happened; two processes equal one."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from tests.cli.commands import ENVIRONMENT, start, strays
from unstir.files import read_tensors

BATCH, SAMPLES = 16, 16 * 64
TINY = [
    "--samples", SAMPLES, "--set", f"training.batch={BATCH}", "--set", f"training.checkpoint_samples={BATCH}",
    "--set", "network.width=16", "--set", "network.layers=1", "--set", "network.dropout=0.1",
]  # fmt: skip


def weights(run):
    return read_tensors(run / "model.safetensors")[0]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def place(unstir, tmp_path_factory):
    """A folder with data and an uninterrupted run on them."""
    folder = tmp_path_factory.mktemp("interruption")
    rng = np.random.default_rng(0)
    np.savez(folder / "mine.npz", x=rng.normal(size=(50, 2)), labels=np.arange(50) % 2)
    unstir.good(folder, "train", "mine.npz", *TINY, "--out", "whole")
    return folder


def done(run):
    """Samples in the newest checkpoint."""
    return max((int(p.name) for p in (run / "checkpoints").glob("[0-9]*")), default=0)


def wait_for(process, condition, what):
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, (what, process.communicate())
        assert time.monotonic() < end, what
        time.sleep(0.0005)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminate"])
def test_an_interruption_saves_exits_with_130_and_says_how_to_go_on(number, unstir, place):
    out = f"run-{number.name}"
    run = place / out
    process = start(place, "train", "mine.npz", *TINY, "--out", out)
    wait_for(process, lambda: done(run) >= 3 * BATCH, "three checkpoints")
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr == ""
    assert f"go on with: unstir train --resume --out {out}" in stdout
    samples = done(run)
    assert 3 * BATCH <= samples < SAMPLES
    assert f"stopped after {samples:,} samples" in stdout
    assert strays(run) == []
    content = json.loads((run / "config.json").read_text())
    assert (content["samples"], content["finished"]) == (samples, False)
    unstir.good(place, "sample", out, "-n", 2, "--steps", 1, "--out", "x.npy")  # of use already
    assert f"resuming after {samples:,} samples" in unstir.good(place, "train", "--resume", "--out", out)
    assert same(weights(run), weights(place / "whole"))
    assert json.loads((run / "config.json").read_text())["finished"] is True


def test_an_interruption_before_the_first_step_is_quiet(place):
    process = start(place, "train", "mine.npz", *TINY, "--out", "early")
    wait_for(process, lambda: b"torch" in maps(process.pid), "the import of torch")
    stderr = interrupt(process)
    assert process.returncode == 130
    assert "Traceback" not in stderr


def interrupt(process):
    """Press Ctrl-C, and again if nothing happens: Python loses one that arrives in a destructor."""
    for _ in range(10):
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=4)[1]
    raise AssertionError("ten interruptions did not end it")


def maps(pid):
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            return file.read()
    except OSError:
        return b""


def stop_amid_a_checkpoint(process, folder):
    """Stop a process while a checkpoint is half written."""
    while True:
        wait_for(process, lambda: any(folder.glob(".writing-*")), "a checkpoint")
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.01)
        if any(folder.glob(".writing-*")):
            return
        process.send_signal(signal.SIGCONT)


def test_a_run_killed_at_any_moment_ends_with_the_weights_of_one_that_was_not(unstir, place):
    run = place / "killed"
    moments = random.Random(0)
    command = ["train", "mine.npz", *TINY]
    for first in (6, 30):
        target = BATCH * moments.randrange(first, first + 15)
        process = start(place, *command, "--out", "killed")
        wait_for(process, lambda target=target: done(run) >= target, f"{target} samples")
        if first == 6:
            stop_amid_a_checkpoint(process, run / "checkpoints")
        else:
            time.sleep(moments.uniform(0.0, 0.03))
        process.kill()
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        assert target <= done(run) < SAMPLES
        command = ["train", "--resume"]
    unstir.good(place, *command, "--out", "killed")
    assert same(weights(run), weights(place / "whole"))
    assert strays(run / "checkpoints") == []
    lines = [json.loads(line)["samples"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines == sorted(set(lines))


def test_two_processes_train_the_weights_of_one(unstir, place):
    options = [
        "--samples",
        128,
        "--set",
        "training.batch=16",
        "--set",
        "network.width=16",
        "--set",
        "network.layers=1",
    ]
    unstir.good(place, "train", "mine.npz", *options, "--out", "one")
    launch = [
        "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1",
        "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "-m", "unstir",
    ]  # fmt: skip
    command = [sys.executable, *launch, "train", "mine.npz", *(str(o) for o in options), "--out", "two"]
    result = subprocess.run(
        command, cwd=place, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, result.stderr
    one, two = weights(place / "one"), weights(place / "two")
    assert one.keys() == two.keys()
    assert not same(one, weights(place / "whole"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-5)
    content = json.loads((place / "two" / "config.json").read_text())
    assert (content["samples"], content["finished"]) == (128, True)
