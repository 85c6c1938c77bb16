"""Trainings: launch, trainers, training sets."""
