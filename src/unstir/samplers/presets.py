"""The named members of the exponential multistep family, and where each comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from unstir.samplers.multistep import Multistep


@dataclass(frozen=True)
class Preset:
    """A named solver of the family.

    Attributes:
        make: builds it.
        order: of convergence (for eta > 0 that of the same solver without noise).
        source: paper and equation.
        note: how it differs from the paper's own formula, if it does.
    """

    make: Callable[..., Multistep]
    order: int
    source: str
    note: str = ""

    @property
    def deterministic(self) -> bool:
        """Whether it adds no noise."""
        return self.make().eta == 0.0


def _log_snr(order: int, corrector: int = 0, prediction: str = "x0", eta: float = 0.0) -> Multistep:
    return Multistep(order, corrector, prediction=prediction, coordinate="log-snr", eta=eta, last=1)


_EXACT = "weights by exact integration instead of an expansion in the step"

PRESETS: dict[str, Preset] = {
    "multistep": Preset(Multistep, 3, "the library's default; see `scheme_for`"),
    "multistep-1": Preset(lambda: Multistep(1), 2, "see `Multistep`"),
    "multistep-2": Preset(lambda: Multistep(2), 2, "see `Multistep`"),
    "multistep-3": Preset(lambda: Multistep(3), 3, "see `Multistep`"),
    "multistep-4": Preset(lambda: Multistep(4), 4, "see `Multistep`", "one evaluation more than steps"),
    "multistep-sde": Preset(
        lambda: Multistep(2, 0, prediction="x0", coordinate="correlation", eta=1.0), 2, "see `Multistep`"
    ),
    "ddim": Preset(lambda: _log_snr(1), 1, "Song, Meng & Ermon 2021, eq. 12 with eta = 0"),
    "dpmpp-2m": Preset(lambda: _log_snr(2), 2, "Lu et al. 2022b (DPM-Solver++), algorithm 2", _EXACT),
    "dpmpp-3m": Preset(
        lambda: _log_snr(3), 3, "Lu et al. 2022b (DPM-Solver++), appendix B", _EXACT + "; start of order 3"
    ),
    "dpmpp-2m-sde": Preset(
        lambda: _log_snr(2, eta=1.0), 2, "Lu et al. 2022b (DPM-Solver++), eq. 18 and appendix D", _EXACT
    ),
    "deis": Preset(
        lambda: _log_snr(3, prediction="epsilon"), 3, "Zhang & Chen 2023 (DEIS), eq. 15, in log rho"
    ),
    "deis-rho": Preset(
        lambda: Multistep(3, 0, prediction="epsilon", coordinate="noise-ratio", last=1),
        3,
        "Zhang & Chen 2023 (DEIS), eq. 15 in rho (rhoAB)",
    ),
    "unipc": Preset(lambda: _log_snr(2, 3), 3, "Zhao et al. 2023 (UniPC), algorithms 1 and 2", _EXACT),
    "sa": Preset(
        lambda: _log_snr(3, 4, eta=1.0), 4, "Xue et al. 2023 (SA-Solver), eq. 14 and 17, tau = 1", _EXACT
    ),
}
"""The family by the names that people look for."""
