"""Runs of the command line as processes of their own.

`real` starts an interpreter, which takes seconds. `Commands` keeps one that has imported torch, and forks
a process from it for every command: the same code, arguments, folder, output and exit code, in a moment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
MODULE = [sys.executable, "-m", "unstir"]

_ZYGOTE = r"""
import json, os, resource, runpy, signal, sys, tempfile, traceback
import numpy, scipy.linalg, sklearn.datasets, sklearn.model_selection, torch, accelerate, safetensors.torch
import rich.progress, rich.table, typer, yaml, PIL.Image
import torch._dynamo, torch._inductor.config, torch.distributed, torch.distributed.fsdp
import matplotlib.figure, matplotlib.backends.backend_agg, scipy.optimize, scipy.special, scipy.stats
import unstir.model, unstir.recipes.run, unstir.generators, unstir.simulations.render
torch.set_num_threads(1)
print("ready", flush=True)
for line in sys.stdin:
    command = json.loads(line)
    files = [tempfile.TemporaryFile() for _ in range(2)]
    child = os.fork()
    if child == 0:
        os.chdir(command["cwd"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, file in enumerate(files, start=1):
            os.dup2(file.fileno(), number)
        if command["limit"]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (command["limit"], resource.RLIM_INFINITY))
        sys.argv = ["unstir", *command["arguments"]]
        code = 0
        try:
            runpy.run_module("unstir", run_name="__main__")
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    _, status = os.waitpid(child, 0)
    texts = []
    for file in files:
        file.seek(0)
        texts.append(file.read().decode())
    print(json.dumps([os.waitstatus_to_exitcode(status), *texts]), flush=True)
"""


@dataclass(frozen=True)
class Result:
    code: int
    stdout: str
    stderr: str


class Commands:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _ZYGOTE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        assert self.process.stdout.readline() == "ready\n"

    def __call__(self, cwd: Path, *arguments: object, limit: int = 0) -> Result:
        """Run ``unstir ARGUMENTS`` in a folder; ``limit`` is the largest file it may write, in bytes."""
        command = {"cwd": str(cwd), "arguments": [str(a) for a in arguments], "limit": limit}
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return Result(*json.loads(self.process.stdout.readline()))

    def good(self, cwd: Path, *arguments: object) -> str:
        """What a command that must succeed prints."""
        result = self(cwd, *arguments)
        assert result.code == 0, result
        assert result.stderr == "", result
        return result.stdout

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def real(cwd: Path, *arguments: object) -> Result:
    """Run ``python -m unstir ARGUMENTS`` from nothing."""
    command = [*MODULE, *(str(a) for a in arguments)]
    done = subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


def start(cwd: Path, *arguments: object) -> subprocess.Popen:
    """Start ``python -m unstir ARGUMENTS`` and return at once."""
    command = [*MODULE, *(str(a) for a in arguments)]
    return subprocess.Popen(
        command, cwd=cwd, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def check_error(result: Result, code: int, sentence: str) -> None:
    """One sentence on standard error, and the exit code."""
    assert "Traceback" not in result.stderr, result.stderr
    lines = result.stderr.splitlines()
    assert [line[:7] for line in lines] == ["error: "], result
    assert sentence in lines[0], lines[0]
    assert result.code == code, result


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its content, and every folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def strays(folder: Path) -> list[str]:
    """Temporary files that were left behind."""
    return [name for name in tree(folder) if "/." in f"/{name}"]
