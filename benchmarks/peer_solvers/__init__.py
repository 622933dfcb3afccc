"""Samplers of other libraries behind one contract, each given the exact denoiser at the level it means."""
