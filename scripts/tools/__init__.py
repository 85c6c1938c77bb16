"""Programs that are no rules: they look at a run before, between or after its jobs."""
