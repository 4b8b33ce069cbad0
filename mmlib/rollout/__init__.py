"""A/B stages: assignment, experiment, safety."""
