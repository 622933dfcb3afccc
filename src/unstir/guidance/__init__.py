"""Steering: each method is a denoiser round a denoiser."""

from unstir.guidance.classifier_free import ClassifierFree, check_window

__all__ = ["ClassifierFree", "check_window"]
