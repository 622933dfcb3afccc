"""Small networks and data sets that train in a moment, and expectations by Gauss-Hermite quadrature."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from unstir.denoisers import Network
from unstir.networks import MLP
from unstir.processes import V_PREDICTION, VP, Schedule, Target
from unstir.training import ArrayData, TrainingSettings


def mlp(features: int = 2, *, seed: int = 0, width: int = 16, layers: int = 1, **options) -> MLP:
    """A tiny MLP whose weights depend on the seed only; the last layer is not zero."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = MLP(features, width=width, layers=layers, **options)
        nn.init.normal_(module.leave.weight, std=0.1)
    return module


def network(
    features: int = 2,
    *,
    schedule: Schedule | None = None,
    target: Target = V_PREDICTION,
    sigma_data: float = 1.0,
    **options,
) -> Network:
    return Network(mlp(features, **options), schedule or VP(), target, sigma_data)


def points(n: int = 40, features: int = 2, *, labels: int = 0, seed: int = 0) -> ArrayData:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, features)).astype(np.float32)
    return ArrayData(x, np.arange(n) % labels if labels else None)


def settings(**values) -> TrainingSettings:
    return TrainingSettings.model_validate({"samples": 96, "batch": 8, **values})


def quadrature(mean: float, std: float, nodes: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes x_0 (n, 1) of N(mean, std^2), epsilon (n, 1) and weights (n,): exact for low polynomials."""
    z, w = np.polynomial.hermite_e.hermegauss(nodes)
    w = w / w.sum()
    a, b = np.meshgrid(z, z, indexing="ij")
    weights = np.outer(w, w).ravel()
    x_0, epsilon = mean + std * a.reshape(-1, 1), b.reshape(-1, 1)
    return torch.from_numpy(x_0), torch.from_numpy(epsilon), torch.from_numpy(weights)


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Whether two groups of tensors are the same, bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
