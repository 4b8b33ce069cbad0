"""Strategies as kernels: what decides, on the one exchange."""
