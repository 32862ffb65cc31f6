"""Pure mathematics: tensors in, tensors out; no model, no data, no printing."""
