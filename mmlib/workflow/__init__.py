"""Steps, runner, record, readiness and pages."""
