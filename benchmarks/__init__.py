"""Measurements of the methods on problems whose answer is known. Nothing here is needed to train a network."""
