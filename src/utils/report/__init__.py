"""All that a person looks at, made from the files of runs and sweeps: pictures, reports, tables."""
