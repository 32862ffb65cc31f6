"""Trained networks in use: exported, asked for predictions, chosen by what they cost."""
