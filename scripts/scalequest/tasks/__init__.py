"""What a model is asked to do: judge, solve, rewrite."""
