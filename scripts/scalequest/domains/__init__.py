"""Domains: what a field of problems, such as mathematics, brings to the method. One module each, found by its name."""
