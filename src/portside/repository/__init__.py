"""Immutable versions, published atomically."""
