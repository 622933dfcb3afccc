"""Nature's diffusions beside other packages, one thread, one process: ``python benchmarks/physics.py``.

Peers are measured where they are installed (pip install py-pde numba; jax exponax; g++ for the stencil).
Times are the least of several turns that alternate between the candidates; of packages that compile only
what comes after compilation counts. Options: names of the parts to run, --json FILE.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import numpy as np
import torch

torch.set_num_threads(1)


def fastest(candidates, turns=7):
    """Least wall time of each candidate, taken in turns."""
    best = dict.fromkeys(candidates, math.inf)
    for call in candidates.values():
        call()
    for _ in range(turns):
        for name, call in candidates.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def optional(module):
    try:
        return __import__(module)
    except ImportError:
        print(f"  {module} is not installed: left out", file=sys.stderr)
        return None


def marginal(solve, unit):
    """Seconds a step of a py-pde run, from its own clock after compilation."""
    pde = optional("pde")
    stamps = []
    tracker = pde.trackers.CallbackTracker(
        lambda _, t: stamps.append((t, time.perf_counter())), interrupts=20 * unit
    )
    solve(tracker)
    gaps = [(b[1] - a[1]) / round((b[0] - a[0]) / unit) for a, b in pairwise(stamps[1:])]
    return min(gaps)


def heat():
    """A Gaussian on 256 x 256 closed cells of the unit square, D = 0.1, to t = 0.01 and t = 0.1, float64."""
    times, errors, ratios = {}, {}, {}
    for t in (0.01, 0.1):
        for store, part in zip((times, errors, ratios), _heat_until(t), strict=True):
            store |= {f"t = {t:g}: {key}": value for key, value in part.items()}
    return times, errors, ratios


def _spread(x, centre, variance):
    """A Gaussian between walls at 0 and 1, as the sum of its mirror images."""
    images = [2.0 * m + s * centre for m in range(-3, 4) for s in (1, -1)]
    return sum(torch.exp(-0.5 * (x - c) ** 2 / variance) for c in images) / math.sqrt(
        2.0 * math.pi * variance
    )


def _heat_until(t):
    from scipy.fft import dctn, idctn

    from unstir.generators import diffusion
    from unstir.spaces import Axis, Grid

    n, D, width = 256, 0.1, 0.05
    axis = Axis(0, 1, n)
    grid = Grid(axis, axis)
    u, exact = (
        _spread(axis.centers, 0.45, v)[:, None] * _spread(axis.centers, 0.55, v)
        for v in (width**2, width**2 + 2 * D * t)
    )
    volumes, spectral = diffusion(grid, D), diffusion(grid, D, scheme="spectral")
    k = math.pi * torch.arange(n, dtype=torch.float64)
    decay = torch.exp(-D * t * (k[:, None] ** 2 + k**2)).numpy()
    array = u.numpy()
    candidates = {
        "unstir, finite volumes": lambda: volumes.exp(t, u),
        "unstir, spectral": lambda: spectral.exp(t, u),
        "scipy.fft DCT": lambda: idctn(decay * dctn(array, norm="ortho"), norm="ortho"),
    }
    exponax = optional("exponax")
    if exponax is not None:
        import jax

        jax.config.update("jax_enable_x64", True)
        # It knows periodic domains only; n x n cells of one is its fast case.
        exact_step = exponax.stepper.Diffusion(2, 1.0, n, t, diffusivity=D)
        stepper = jax.jit(lambda s: exact_step(s))
        state = jax.numpy.asarray(array)[None]
        candidates["exponax (periodic)"] = lambda: stepper(state).block_until_ready()
    times = fastest(candidates, turns=25)
    states = {name: candidates[name]() for name in list(candidates)[:3]}
    errors = {name: float((torch.as_tensor(state) - exact).abs().max()) for name, state in states.items()}
    ours = min(times["unstir, finite volumes"], times["unstir, spectral"])
    best = min(times["scipy.fft DCT"], times.get("exponax (periodic)", math.inf))
    ratios = {"unstir to the fastest exact propagator": ours / best}
    pde = optional("pde")
    if pde is not None:
        box = pde.CartesianGrid([[0, 1], [0, 1]], n)
        equation = pde.DiffusionPDE(D, bc={"derivative": 0})
        steps = math.ceil(t / (0.2 / (D * n**2)))
        dt, start, final = t / steps, pde.ScalarField(box, array), []

        def solve(tracker):
            run = equation.solve(start, t_range=t, dt=dt, solver="euler", backend="numba", tracker=tracker)
            final.append(run.data)

        times["py-pde, numba Euler"] = steps * marginal(solve, dt)
        errors["py-pde, numba Euler"] = float(np.abs(final[0] - exact.numpy()).max())
        for name in ("finite volumes", "spectral"):
            ratios[f"py-pde to unstir, {name}"] = times["py-pde, numba Euler"] / times[f"unstir, {name}"]
    return times, errors, ratios


def graph():
    """Heat on 10,000 nodes in the plane, joined to their 6 nearest, one start and 11 output times."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.linalg import expm_multiply
    from scipy.spatial import cKDTree

    from unstir.generators import diffusion
    from unstir.spaces import Graph

    n = 10_000
    points = np.random.default_rng(0).random((n, 2))
    _, near = cKDTree(points).query(points, 7)
    rows, cols = np.repeat(np.arange(n), 6), near[:, 1:].reshape(-1)
    adjacency = csr_matrix((np.ones(len(rows)), (rows, cols)), shape=(n, n))
    adjacency = ((adjacency + adjacency.T) > 0).astype(float)
    L = adjacency - csr_matrix(
        (np.asarray(adjacency.sum(1))[:, 0], (np.arange(n), np.arange(n))), shape=(n, n)
    )
    A = diffusion(Graph(adjacency), 1.0)
    u = np.zeros(n)
    u[0] = 1.0
    start = torch.as_tensor(u)
    times, errors, ratios = {}, {}, {}
    for t in (1.0, 10.0, 100.0):
        got = fastest(
            {
                "unstir": lambda t=t: A.exp(t, start, tolerance=1e-10),
                "scipy": lambda t=t: expm_multiply(t * L, u),
            },
            turns=3,
        )
        name = f"one time, t = {t:g}"
        times |= {f"{name}, {key}": value for key, value in got.items()}
        reference = expm_multiply(t * L, u)
        errors[name] = float(np.abs(A.exp(t, start, tolerance=1e-10).numpy() - reference).max())
        ratios[name] = got["scipy"] / got["unstir"]
    many = torch.linspace(0.0, 100.0, 11, dtype=torch.float64)
    got = fastest(
        {
            "unstir": lambda: A.exp(many, start, tolerance=1e-10),
            "scipy": lambda: expm_multiply(L, u, start=0.0, stop=100.0, num=11),
        },
        turns=2,
    )
    times |= {f"11 times to 100, {key}": value for key, value in got.items()}
    ratios["11 times to 100"] = got["scipy"] / got["unstir"]
    return times, errors, ratios


def pruning():
    """Felsenstein's pruning, 10,000 tips x 100 sites x 4 states, likelihood of every site, float64."""
    from unstir.physics.phylo_regions import region_log_likelihood, simulate_regions
    from unstir.spaces import Tree

    tree = Tree.yule(10_000, seed=0)
    Q = torch.tensor([[0, 2.0, 1, 1], [1, 0, 1, 3], [1, 1, 0, 1], [0.5, 2, 1, 0]], dtype=torch.float64)
    states = simulate_regions(tree, Q, 100, seed=1)[tree.tips]
    fresh = torch.tensor(1.0, dtype=torch.float64)

    def run():
        # Other rates at every call, so that no propagator is kept from the last one.
        nonlocal fresh
        fresh = fresh * 1.0001
        return region_log_likelihood(tree, states, fresh * Q)

    times = fastest({"unstir": run}, turns=9)
    return times, {}, {"target 0.2 s over time": 0.2 / times["unstir"]}


def hopping():
    """Kinetic Monte Carlo events a second: carbon in iron (equal rates), and a graph of unequal rates."""
    from unstir.physics.hopping import hop, hop_on_graph
    from unstir.spaces import Graph

    walkers = 20_000
    times, rates = {}, {}
    for per_interval in (20, 200, 2000):
        count = max(1, 2000 // per_interval)
        moments = torch.arange(1, count + 1, dtype=torch.float64) * per_interval
        call = {"lattice": lambda m=moments: hop(rate=1.0, times=m, walkers=walkers)}
        name = f"lattice, {per_interval} hops between looks"
        times[name] = fastest(call, turns=2)["lattice"]
        rates[f"{name}, million events/s"] = walkers * float(moments[-1]) / times[name] / 1e6
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(100, 100, dtype=torch.float64, generator=generator)
    weights = torch.where(weights + weights.T > 1.6, weights + weights.T, 0.0).fill_diagonal_(0.0)
    graph = Graph(weights)
    duration = 200.0 / float(graph.degrees.mean())
    start = time.perf_counter()
    events = hop_on_graph(graph, torch.zeros(walkers, dtype=torch.int64), [duration], seed=1)
    took = time.perf_counter() - start
    hops = float(events.events.sum())
    times["graph of unequal rates"] = took
    rates["graph of unequal rates, million events/s"] = hops / took / 1e6
    return times, {}, rates


def gray_scott():
    """Gray-Scott on 256 x 256 periodic cells, 10,000 explicit steps of 1, every package marginally."""
    from unstir.generators import diffusion
    from unstir.physics.evolve import evolve
    from unstir.physics.reaction import GrayScott
    from unstir.spaces import Axis, Grid

    n, steps, D = 256, 10_000, (0.16, 0.08)
    F, k = 0.035, 0.065
    grid = Grid(*[Axis(0, n, n, boundary="periodic")] * 2)
    generators = tuple(diffusion(grid, d) for d in D)
    reaction = GrayScott(F, k)
    generator = torch.Generator().manual_seed(0)
    start = torch.stack([torch.ones(n, n), torch.zeros(n, n)]).double()
    start[:, 108:148, 108:148] = torch.tensor([0.5, 0.25], dtype=torch.float64)[:, None, None]
    start += 0.02 * torch.rand(2, n, n, dtype=torch.float64, generator=generator)
    times, errors = {}, {}
    final = {}
    for dtype in (torch.float64, torch.float32):
        u = start.to(dtype)

        def run(count, u=u):
            return evolve(u, float(count), generators, reaction, method="explicit", steps=count)

        run(steps)  # compiles
        began = time.perf_counter()
        final[dtype] = run(steps).u
        times[f"unstir, {dtype}"] = time.perf_counter() - began
    stencil = _fused(start.numpy(), steps, D, F, k)
    if stencil is not None:
        times["fused C++ stencil, float64"], reference = stencil
        errors["unstir to the C++ stencil, float64"] = float(
            np.abs(final[torch.float64].numpy() - reference).max()
        )
    pde = optional("pde")
    if pde is not None:
        box = pde.CartesianGrid([[0, n], [0, n]], n, periodic=True)
        equation = pde.PDE(
            {
                "u": f"{D[0]} * laplace(u) - u * v**2 + {F} * (1 - u)",
                "v": f"{D[1]} * laplace(v) + u * v**2 - {F + k} * v",
            }
        )
        state = pde.FieldCollection([pde.ScalarField(box, a) for a in start.numpy()])

        def solve(tracker):
            equation.solve(state, t_range=400, dt=1.0, solver="euler", backend="numba", tracker=tracker)

        times["py-pde, numba Euler, float64"] = steps * marginal(solve, 1.0)
    ratios = {
        f"{name} to unstir": value / times["unstir, torch.float64"]
        for name, value in times.items()
        if "float64" in name and "unstir" not in name
    }
    return times, errors, ratios


_CPP = r"""
#include <cstddef>
#include <utility>
extern "C" void run(double* u, double* v, double* a, double* b, int n, int steps, double Du, double Dv,
                    double F, double k) {
  for (int s = 0; s < steps; ++s) {
    for (int i = 0; i < n; ++i) {
      const double *un = u + (i + n - 1) % n * n, *uc = u + i * n, *us = u + (i + 1) % n * n;
      const double *vn = v + (i + n - 1) % n * n, *vc = v + i * n, *vs = v + (i + 1) % n * n;
      double *ao = a + i * n, *bo = b + i * n;
      auto cell = [&](int j, int w, int e) {
        double x = uc[j], y = vc[j], r = x * y * y;
        ao[j] = x + Du * (un[j] + us[j] + uc[w] + uc[e] - 4 * x) - r + F * (1 - x);
        bo[j] = y + Dv * (vn[j] + vs[j] + vc[w] + vc[e] - 4 * y) + r - (F + k) * y;
      };
      cell(0, n - 1, 1);
      for (int j = 1; j < n - 1; ++j) cell(j, j - 1, j + 1);
      cell(n - 1, n - 2, 0);
    }
    std::swap(u, a);
    std::swap(v, b);
  }
}
"""


def _fused(start, steps, D, F, k):
    """Seconds and final state of a hand-written stencil, or None without g++."""
    import ctypes

    folder = Path(tempfile.mkdtemp())
    (folder / "stencil.cpp").write_text(_CPP)
    command = [
        "g++",
        "-O3",
        "-march=native",
        "-ffast-math",
        "-shared",
        "-fPIC",
        "stencil.cpp",
        "-o",
        "stencil.so",
    ]
    try:
        subprocess.run(command, cwd=folder, check=True)
    except (OSError, subprocess.CalledProcessError):
        print("  no g++: the stencil is left out", file=sys.stderr)
        return None
    library = ctypes.CDLL(str(folder / "stencil.so"))
    assert steps % 2 == 0  # so that the result is back in the first buffers
    arrays = [np.ascontiguousarray(start[i]) for i in (0, 1)] + [np.empty_like(start[0]) for _ in range(2)]
    pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in arrays]
    numbers = [ctypes.c_double(x) for x in (*D, F, k)]
    began = time.perf_counter()
    library.run(*pointers, start.shape[1], steps, *numbers)
    return time.perf_counter() - began, np.stack(arrays[:2])


PARTS = {"heat": heat, "graph": graph, "pruning": pruning, "hopping": hopping, "gray-scott": gray_scott}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    results = {}
    print(f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, one thread")
    for name in options.parts or PARTS:
        print(f"\n{name}: {PARTS[name].__doc__}")
        times, errors, ratios = PARTS[name]()
        results[name] = {"seconds": times, "errors": errors, "ratios": ratios}
        for key, value in times.items():
            print(f"  {key:48s} {1e3 * value:12.3f} ms")
        for key, value in errors.items():
            print(f"  {'error, ' + key:48s} {value:12.2e}")
        for key, value in ratios.items():
            print(f"  {key:48s} {value:12.2f}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
