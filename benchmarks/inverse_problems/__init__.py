"""Inverse problems with exact posteriors, and every method for them behind one contract."""
