"""Rows of weights: what they are, how they are removed, shared and counted."""
