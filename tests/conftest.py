"""One torch thread a process, and property tests without deadlines that repeat exactly in CI."""

import os

import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("unstir", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("unstir")
