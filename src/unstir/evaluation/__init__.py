"""How close samples are to data: distances, coverage, memorisation, a judge of labels, likelihood."""

from unstir.evaluation.bits import Bits, bits_per_dimension
from unstir.evaluation.coverage import PrecisionRecall, precision_recall
from unstir.evaluation.data_likelihood import Likelihood, likelihood_of_data
from unstir.evaluation.distances import (
    GaussianKernels,
    Kernel,
    PolynomialKernel,
    frechet_distance,
    kernel_distance,
    mmd,
    sliced_wasserstein,
)
from unstir.evaluation.divergence import DIVERGENCES, Divergence, Exact, Hutchinson, HutchPlusPlus
from unstir.evaluation.evaluate import Evaluation, Figure, evaluate
from unstir.evaluation.features import Features, PCAFeatures, RawFeatures
from unstir.evaluation.inception import InceptionFeatures
from unstir.evaluation.judge import Judge, train_judge
from unstir.evaluation.likelihood import LogDensity, log_density
from unstir.evaluation.memorisation import Memorisation, memorisation_test, nearest_points
from unstir.evaluation.variational import Bound, variational_bound

__all__ = [
    "DIVERGENCES",
    "Bits",
    "Bound",
    "Divergence",
    "Evaluation",
    "Exact",
    "Features",
    "Figure",
    "GaussianKernels",
    "HutchPlusPlus",
    "Hutchinson",
    "InceptionFeatures",
    "Judge",
    "Kernel",
    "Likelihood",
    "LogDensity",
    "Memorisation",
    "PCAFeatures",
    "PolynomialKernel",
    "PrecisionRecall",
    "RawFeatures",
    "bits_per_dimension",
    "evaluate",
    "frechet_distance",
    "kernel_distance",
    "likelihood_of_data",
    "log_density",
    "memorisation_test",
    "mmd",
    "nearest_points",
    "precision_recall",
    "sliced_wasserstein",
    "train_judge",
    "variational_bound",
]
