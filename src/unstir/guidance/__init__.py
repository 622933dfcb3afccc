"""Steering: each method is a denoiser round a denoiser, or a solver where it has to know the step."""

from unstir.guidance.autoguidance import Autoguidance
from unstir.guidance.classifier import Classifier, Critic
from unstir.guidance.classifier_free import ClassifierFree
from unstir.guidance.composed import Composed
from unstir.guidance.constrained import Constrained, onto, summing_to, within
from unstir.guidance.ddrm import DDRM
from unstir.guidance.diffpir import DiffPIR
from unstir.guidance.dps import DPS
from unstir.guidance.editing import decode, edit, encode, spherical
from unstir.guidance.evidence import Evidence, sample_with_evidence
from unstir.guidance.label_critic import CriticConfig, LabelCritic
from unstir.guidance.measurement import Measurement
from unstir.guidance.measurements import blur, downsample, flow, fourier, heat, mask, radon
from unstir.guidance.mmps import MMPS
from unstir.guidance.noise_level import NoiseEstimate, estimate_noise
from unstir.guidance.operators import LinearOperator, NonlinearOperator, Singular, as_operator
from unstir.guidance.particles import Twisted
from unstir.guidance.pigdm import PiGDM
from unstir.guidance.plus_plus import PlusPlus
from unstir.guidance.repaint import RePaint
from unstir.guidance.strength import check_weight, check_window
from unstir.guidance.summary import Summary, coverage, summarise

__all__ = [
    "DDRM",
    "DPS",
    "MMPS",
    "Autoguidance",
    "Classifier",
    "ClassifierFree",
    "Composed",
    "Constrained",
    "Critic",
    "CriticConfig",
    "DiffPIR",
    "Evidence",
    "LabelCritic",
    "LinearOperator",
    "Measurement",
    "NoiseEstimate",
    "NonlinearOperator",
    "PiGDM",
    "PlusPlus",
    "RePaint",
    "Singular",
    "Summary",
    "Twisted",
    "as_operator",
    "blur",
    "check_weight",
    "check_window",
    "coverage",
    "decode",
    "downsample",
    "edit",
    "encode",
    "estimate_noise",
    "flow",
    "fourier",
    "heat",
    "mask",
    "onto",
    "radon",
    "sample_with_evidence",
    "spherical",
    "summarise",
    "summing_to",
    "within",
]
