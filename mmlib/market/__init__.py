"""Market data sources: readers of recordings and the simulator, one event dtype."""
