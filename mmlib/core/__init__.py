"""Numba kernels over plain arrays: book, queue position, exchange, stages, replay; no frames."""
