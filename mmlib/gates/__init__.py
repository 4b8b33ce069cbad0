"""Gates: their limits (gates.yaml) and how they are evaluated."""
