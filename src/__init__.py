"""Sparse deep multi-task learning by multi-objective optimisation."""
