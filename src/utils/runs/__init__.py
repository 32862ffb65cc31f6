"""One training: what is run, on what, and the files it leaves."""
