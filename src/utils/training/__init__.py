"""Parameters, the training loop, its methods and what a run leaves behind."""
