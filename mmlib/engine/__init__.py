"""Runs the bot over a market source."""
