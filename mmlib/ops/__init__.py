"""Daily operations and alerts."""
