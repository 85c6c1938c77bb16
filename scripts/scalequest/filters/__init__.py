"""Filters of questions, and the decision that follows from what they found."""
