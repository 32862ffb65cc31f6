"""Data sources, composed multi-task data sets and in-memory batches."""
