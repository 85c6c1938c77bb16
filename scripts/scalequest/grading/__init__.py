"""Answers: extraction, comparison, the named graders and their verdicts."""
