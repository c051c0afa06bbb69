"""Portside: from a trained model to a verified, tuned, versioned service."""
