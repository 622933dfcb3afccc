"""Steering: each method is a denoiser round a denoiser."""

from unstir.guidance.classifier_free import ClassifierFree

__all__ = ["ClassifierFree"]
