"""Finished tidy frames to plotly figures; nothing is computed here."""
