"""Finished frames and gate results to markdown."""
