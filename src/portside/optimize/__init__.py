"""Portable graph to a smaller or faster graph, one pass a file."""
