"""How close samples are to data: distances, coverage, memorisation, a judge of labels, one evaluation."""

from unstir.evaluation.coverage import PrecisionRecall, precision_recall
from unstir.evaluation.distances import (
    GaussianKernels,
    Kernel,
    PolynomialKernel,
    frechet_distance,
    kernel_distance,
    mmd,
    sliced_wasserstein,
)
from unstir.evaluation.evaluate import Evaluation, Figure, evaluate
from unstir.evaluation.features import Features, PCAFeatures, RawFeatures
from unstir.evaluation.inception import InceptionFeatures
from unstir.evaluation.judge import Judge, train_judge
from unstir.evaluation.memorisation import Memorisation, memorisation_test, nearest_points

__all__ = [
    "Evaluation",
    "Features",
    "Figure",
    "GaussianKernels",
    "InceptionFeatures",
    "Judge",
    "Kernel",
    "Memorisation",
    "PCAFeatures",
    "PolynomialKernel",
    "PrecisionRecall",
    "RawFeatures",
    "evaluate",
    "frechet_distance",
    "kernel_distance",
    "memorisation_test",
    "mmd",
    "nearest_points",
    "precision_recall",
    "sliced_wasserstein",
    "train_judge",
]
