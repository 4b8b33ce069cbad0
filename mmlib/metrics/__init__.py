"""Frames in, tidy unit-suffixed frames out: latency, money, dataset."""
