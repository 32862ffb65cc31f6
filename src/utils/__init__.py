"""Everything that is neither data nor a network."""
