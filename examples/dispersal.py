"""Two kernels of the same width at their middle: a front of constant speed, and one that accelerates."""

from __future__ import annotations

import sys

import matplotlib.pyplot as plt

from unstir.physics.dispersal import acceleration, beverton_holt, fitted_speed, front, spread, spread_speed
from unstir.physics.dispersal_kernels import GaussianKernel, StudentKernel
from unstir.spaces import Axis

R = 2.0
near, far = Axis(-400.0, 400.0, 3200), Axis(-4000.0, 4000.0, 8000)
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")

gaussian = GaussianKernel(scale=2.0)
x = front(spread((near.centers.abs() < 2).double(), 80, near, gaussian, beverton_holt(R)), near, level=0.5)
speed, decay = spread_speed(R, gaussian)
print(f"Gaussian: {fitted_speed(x, decay, first=30):.4f} a generation, closed form {speed:.4f}")
axes.semilogy(x, label="Gaussian: constant speed")

fat = StudentKernel(scale=2.0, freedom=2.0)
x = front(spread((far.centers.abs() < 2).double(), 26, far, fat, beverton_holt(R)), far, level=0.5)
grows = float((x[-1] / x[-4]).log()) / 3
print(f"Student:  log x grows by {grows:.4f} a generation, closed form {acceleration(R, fat):.4f}")
axes.semilogy(x, label="Student's t, 2 degrees of freedom: it accelerates")

axes.set(xlabel="generation", ylabel="front, m")
axes.legend(frameon=False)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "dispersal.png", dpi=120)
