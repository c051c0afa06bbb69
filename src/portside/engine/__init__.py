"""Loads an artifact and runs it on arrays; one file an engine."""
