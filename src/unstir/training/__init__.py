"""Learning to see through noise: objective, loop, averages, checkpoints."""

from unstir.training.bound import bound_term, prior_term
from unstir.training.checkpoint import Checkpoint, load_newest, save_checkpoint
from unstir.training.classifier import ClassifierSettings, LevelScore, score_by_level, train_classifier
from unstir.training.data import ArrayData, ConditionArray, Scaling, drop_conditions
from unstir.training.distill import DistillationSettings, Distiller
from unstir.training.ema import PowerEMA, gamma_of_width, reconstruct
from unstir.training.noise_levels import LogNormal, NoiseLevels, Uniform
from unstir.training.objective import Objective
from unstir.training.settings import (
    NoiseLevelSettings,
    ObjectiveSettings,
    TrainingSettings,
)
from unstir.training.trainer import Progress, Trainer, train

__all__ = [
    "ArrayData",
    "Checkpoint",
    "ClassifierSettings",
    "ConditionArray",
    "DistillationSettings",
    "Distiller",
    "LevelScore",
    "LogNormal",
    "NoiseLevelSettings",
    "NoiseLevels",
    "Objective",
    "ObjectiveSettings",
    "PowerEMA",
    "Progress",
    "Scaling",
    "Trainer",
    "TrainingSettings",
    "Uniform",
    "bound_term",
    "drop_conditions",
    "gamma_of_width",
    "load_newest",
    "prior_term",
    "reconstruct",
    "save_checkpoint",
    "score_by_level",
    "train",
    "train_classifier",
]
