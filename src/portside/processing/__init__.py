"""Raw bytes to tensors and tensors to answers, from a declaration."""
