"""Every deterministic scheduler of diffusers with its orders, variants, grids and ends.

Left out:

- Noise is added, so the final state is not the probability flow's: DDPM, DDPMParallel, DDPMWuerstchen,
  EulerAncestral, KDPM2Ancestral, DPMSolverSDE, CosineDPMSolverMultistep, the sde- variants of DPM-Solver,
  UnCLIP, ScoreSdeVe, RePaint, LCM, FlowMatchLCM, SCM, CogVideoXDPM, RFD4Proteina, and TCD and SA-Solver with
  eta or tau above 0.
- For networks that are not denoisers: consistency models and decoders, FlowMapEuler, PiFlow, Helios (a
  pyramid of resolutions; inside, UniPC and Euler for flows); for tokens: Amused, VQDiffusion,
  BlockRefinement, DiscreteDDIM, EntropyBound.
- The same steps under another name: DDIMParallel and CogVideoXDDIM (DDIM), MiniMaxH3 and LTXEulerAncestralRF
  with eta = 0 (FlowMatchEuler). DDIMInverse and DPMSolverMultistepInverse run towards noise.

Measured on an 8-dimensional mixture, all converge up to their ends (where their last level is sigma_min, 0.01
for "vp", the state keeps that noise) but for these, which are limitations of the samplers:

- SA-Solver of orders 3-4: float32 coefficients; in float64 it converges.
- PNDM PLMS with linspace or trailing spacing: it steps by 1000 // steps, which those timesteps do not where
  that leaves a rest, so the levels it computes with are not those it evaluates at.
- "leading" spacing starts below t = 1, from noise that holds no signal there: an error of about 0.01.
- "beta" grids are laid out in sigma / alpha, not in its logarithm: up to 20,000 ("cosine") or 999 ("flow")
  even 80 steps leave a last level of the size of the data.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from typing import Any

import diffusers

from peer_solvers.with_diffusers import Setting

SPACINGS: dict[str, dict[str, Any]] = {
    name: {"timestep_spacing": name} for name in ("leading", "linspace", "trailing")
}
SIGMAS: dict[str, dict[str, Any]] = {
    name: {f"use_{name}_sigmas": True} for name in ("karras", "exponential", "beta")
}
OFFSET: dict[str, dict[str, Any]] = {
    **SPACINGS,
    "leading offset 1": {"timestep_spacing": "leading", "steps_offset": 1},
}
GRIDS: dict[str, dict[str, Any]] = {**SPACINGS, **SIGMAS}
EDM_GRIDS: dict[str, dict[str, Any]] = {
    "karras": {},
    "karras rho 3": {"rho": 3.0},
    "exponential": {"sigma_schedule": "exponential"},
}
SHIFTS = {f"shift {shift:g}": shift for shift in (1.0, 2.0, 3.0, 5.0)}
X0 = {"prediction_type": "sample"}
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}


def settings(schedule_name: str) -> list[Setting]:
    """All settings that can run under a schedule."""
    # diffusers announces deprecations and corrected options on every construction.
    warnings.filterwarnings("ignore", module=r"diffusers\..*")
    warnings.filterwarnings("ignore", category=FutureWarning)
    diffusers.logging.set_verbosity(logging.CRITICAL)
    found = [*ddim(), *k_diffusion(), *dpm_multistep(schedule_name), *dpm_singlestep(schedule_name)]
    found += [*deis(), *unipc(), *sa_solver(), *pndm(), *edm(schedule_name)]
    if schedule_name == "flow":
        found += flow()
    return found


def ddim() -> Iterator[Setting]:
    for grid, spacing in OFFSET.items():
        for one in (True, False):
            name = f"DDIM {grid}{'' if one else ' ends at first alpha'}"
            options = {**X0, **spacing, "set_alpha_to_one": one, "clip_sample": False}
            yield Setting(name, "DDIMScheduler", options, "table")
    yield Setting(
        "TCD eta=0", "TCDScheduler", {**X0, "original_inference_steps": 250}, "table", step={"eta": 0.0}
    )


def k_diffusion() -> Iterator[Setting]:
    """The ports of k-diffusion; on their Karras-like grids the spacing decides the first and last level."""
    grids = dict(SPACINGS)
    for name, sigmas in SIGMAS.items():
        grids |= {f"{name} {spacing}": {**sigmas, **other} for spacing, other in SPACINGS.items()}
    for grid, options in grids.items():
        for end in ("zero", "sigma_min"):
            name = f"Euler {grid}{'' if end == 'zero' else ' to sigma_min'}"
            yield Setting(
                name, "EulerDiscreteScheduler", {**X0, **options, "final_sigmas_type": end}, "scaled"
            )
        yield Setting(f"Heun {grid}", "HeunDiscreteScheduler", {**X0, **options}, "scaled")
        yield Setting(f"KDPM2 {grid}", "KDPM2DiscreteScheduler", options, "scaled", "epsilon")
        for order in (1, 2, 3, 4):
            step = {"order": order}
            yield Setting(
                f"LMS-{order} {grid}", "LMSDiscreteScheduler", {**X0, **options}, "scaled", step=step
            )


def dpm_variants(form: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Orders, algorithms, types and ends that differ in what they compute; ``form``: M(ulti) or S(ingle)."""
    types = {1: ("midpoint",), 2: ("midpoint", "heun"), 3: ("midpoint",)}
    for order, kinds in types.items():
        for kind in kinds:
            for algorithm in ("dpmsolver++", "dpmsolver"):
                for end in ("zero", "sigma_min"):
                    if (algorithm, end) != ("dpmsolver", "zero"):  # diffusers refuses it
                        label = {"dpmsolver++": "DPM-Solver++", "dpmsolver": "DPM-Solver"}[algorithm]
                        name = f"{label}-{order}{form}{' heun' if kind == 'heun' else ''}"
                        name += "" if end == "zero" else " to sigma_min"
                        options = {"solver_order": order, "solver_type": kind, "algorithm_type": algorithm}
                        yield name, {**options, "final_sigmas_type": end}


def finals(options: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """How the last steps of a multistep solver are taken, where that makes a difference."""
    yield "", {"lower_order_final": True}
    order, zero = options["solver_order"], options["final_sigmas_type"] == "zero"
    if order == 3 or (order == 2 and not zero):
        yield " full order", {"lower_order_final": False}
        if not zero:
            yield " full order, Euler last", {"lower_order_final": False, "euler_at_final": True}


def clipped(schedule_name: str, grids: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """With the clip of lambda that diffusers calls critical for the cosine table, where it acts."""
    found = dict(grids)
    for name, grid in grids.items():
        if schedule_name == "cosine" and name not in (*SIGMAS, "lu"):
            found[f"{name} clipped"] = {**grid, "lambda_min_clipped": -5.1}
    return found


def dpm_multistep(schedule_name: str) -> Iterator[Setting]:
    grids = clipped(schedule_name, {**GRIDS, "lu": {"use_lu_lambdas": True}})
    for name, options in dpm_variants("M"):
        for suffix, final in finals(options):
            for grid, other in grids.items():
                yield Setting(
                    f"{name}{suffix} {grid}",
                    "DPMSolverMultistepScheduler",
                    {**X0, **options, **final, **other},
                    "preserving",
                )


def dpm_singlestep(schedule_name: str) -> Iterator[Setting]:
    grids = clipped(schedule_name, {"linspace": {}, **SIGMAS})
    for name, options in dpm_variants("S"):
        for suffix, lower in (("", True), (" full order", False)):
            # With "zero" diffusers sets lower_order_final to True itself; first order has no lower one.
            if lower or (options["final_sigmas_type"] != "zero" and options["solver_order"] > 1):
                for grid, other in grids.items():
                    yield Setting(
                        f"{name}{suffix} {grid}",
                        "DPMSolverSinglestepScheduler",
                        {**X0, **options, "lower_order_final": lower, **other},
                        "preserving",
                    )


def deis() -> Iterator[Setting]:
    for order in (1, 2, 3):
        for suffix, lower in (("", True), (" full order", False))[: 2 if order > 1 else 1]:
            for grid, other in GRIDS.items():
                options = {**X0, "solver_order": order, "lower_order_final": lower, **other}
                name = f"DEIS-{order}{suffix} {grid}"
                yield Setting(name, "DEISMultistepScheduler", options, "preserving")


def unipc_variants() -> Iterator[tuple[str, dict[str, Any]]]:
    """At sigma = 0 only bh2 with x_0 and a last step of order 1 is a number; the others end at sigma_min."""
    for order in (1, 2, 3):
        for kind in ("bh1", "bh2"):
            for x0 in (True, False):
                for end in ("zero", "sigma_min") if (kind, x0) == ("bh2", True) else ("sigma_min",):
                    name = f"UniPC-{order} {kind} {'x0' if x0 else 'epsilon'}"
                    name += "" if end == "zero" else " to sigma_min"
                    options = {
                        "solver_order": order,
                        "solver_type": kind,
                        "predict_x0": x0,
                        "final_sigmas_type": end,
                    }
                    yield name, options
        base = {"solver_order": order, "solver_type": "bh2"}
        yield f"UniPC-{order} bh2 x0 no corrector", {**base, "disable_corrector": list(range(1000))}
        yield f"UniPC-{order} bh2 x0 late corrector", {**base, "disable_corrector": [0]}
        if order > 1:
            for x0 in (True, False):
                name = f"UniPC-{order} bh2 {'x0' if x0 else 'epsilon'} full order to sigma_min"
                options = {
                    **base,
                    "predict_x0": x0,
                    "lower_order_final": False,
                    "final_sigmas_type": "sigma_min",
                }
                yield name, options


def unipc() -> Iterator[Setting]:
    for name, options in unipc_variants():
        for grid, other in GRIDS.items():
            setting = {**X0, **options, **other}
            yield Setting(f"{name} {grid}", "UniPCMultistepScheduler", setting, "preserving")


def sa_solver() -> Iterator[Setting]:
    """With tau = 0, without noise: an Adams predictor and corrector."""
    for predictor, corrector in ((1, 1), (1, 2), (2, 2), (2, 3), (3, 3), (3, 4)):
        for algorithm in ("data", "noise"):
            for grid, other in GRIDS.items():
                options = {
                    "predictor_order": predictor,
                    "corrector_order": corrector,
                    "algorithm_type": f"{algorithm}_prediction",
                    "tau_func": no_noise,
                }
                name = f"SA-Solver-{predictor}-{corrector} {algorithm} {grid}"
                yield Setting(name, "SASolverScheduler", {**X0, **options, **other}, "preserving")


def no_noise(t: Any) -> int:
    return 0


def pndm() -> Iterator[Setting]:
    for grid, other in OFFSET.items():
        for skip in (True, False):
            for one in (True, False):
                name = f"PNDM{' PLMS' if skip else ''} {grid}{'' if one else ' ends at first alpha'}"
                options = {"skip_prk_steps": skip, "set_alpha_to_one": one, **other}
                yield Setting(name, "PNDMScheduler", options, "table", "epsilon")
    yield Setting("iPNDM", "IPNDMScheduler", {}, "ipndm", "v", table=False)


def edm(schedule_name: str) -> Iterator[Setting]:
    """EDM's schedulers between the ends of the schedule, and of EDM itself where that differs."""
    ranges = {"": (0.002, 80.0)}
    if schedule_name == "vp":
        ranges = {"": (0.01, 157.4), " 80": (0.002, 80.0)}
    for label, (low, high) in ranges.items():
        for grid, schedule in EDM_GRIDS.items():
            base: dict[str, Any] = {"sigma_min": low, "sigma_max": high, **schedule}
            for end in ("zero", "sigma_min"):
                suffix = f"{'' if end == 'zero' else ' to sigma_min'}{label} {grid}"
                options = {**base, "final_sigmas_type": end}
                yield Setting(
                    f"EDM Euler{suffix}", "EDMEulerScheduler", options, "scaled", "edm", table=False
                )
                for name, variant in dpm_variants("M"):
                    if variant["algorithm_type"] == "dpmsolver++" and variant["final_sigmas_type"] == end:
                        for final, other in finals(variant):
                            yield Setting(
                                f"EDM {name.removesuffix(' to sigma_min')}{final}{suffix}",
                                "EDMDPMSolverMultistepScheduler",
                                {**base, **variant, **other},
                                "scaled",
                                "edm",
                                table=False,
                            )


def flow() -> Iterator[Setting]:
    """The samplers that know flows, from t = 1 or just below."""
    options: dict[str, Any]
    setting: dict[str, Any]
    for label, shift in SHIFTS.items():
        for grid, other in {"": {}, **{f" {name}": value for name, value in SIGMAS.items()}}.items():
            options = {"shift": shift, **other}
            name = f"flow Euler {label}{grid}"
            yield Setting(name, "FlowMatchEulerDiscreteScheduler", options, "flow", "velocity", table=False)
        options = {"shift": shift}
        name = f"flow Heun {label}"
        yield Setting(name, "FlowMatchHeunDiscreteScheduler", options, "flow", "velocity", table=False)
        base = {**FLOW, "flow_shift": shift}
        for name, options in dpm_variants("M"):
            for suffix, final in finals(options):
                setting = {**base, **options, **final}
                if options["algorithm_type"] == "dpmsolver":  # it takes no flow_prediction
                    setting |= X0
                output = "x0" if options["algorithm_type"] == "dpmsolver" else "velocity"
                full = f"flow {name}{suffix} {label}"
                yield Setting(full, "DPMSolverMultistepScheduler", setting, "flow", output)
        for name, options in dpm_variants("S"):
            setting = {**base, **options, "lower_order_final": True, **X0}
            yield Setting(f"flow {name} {label}", "DPMSolverSinglestepScheduler", setting, "flow")
        for name, options in unipc_variants():
            setting = {**base, **options, **X0}
            yield Setting(f"flow {name} {label}", "UniPCMultistepScheduler", setting, "flow")
            if shift == 1.0:
                # Its exponential and beta grids keep the table's sigma / alpha, up to 999, where a flow's
                # sigma lies below 1: alpha = 1 - sigma is negative and the result not a number.
                setting = {**base, **options, **X0, "use_karras_sigmas": True}
                yield Setting(f"flow {name} karras", "UniPCMultistepScheduler", setting, "flow")
        for order in (1, 2, 3):
            setting = {**base, **X0, "solver_order": order}
            yield Setting(f"flow DEIS-{order} {label}", "DEISMultistepScheduler", setting, "flow")
            setting = {**base, **X0, "predictor_order": order, "corrector_order": order, "tau_func": no_noise}
            yield Setting(f"flow SA-Solver-{order}-{order} {label}", "SASolverScheduler", setting, "flow")
