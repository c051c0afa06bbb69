"""Composition root: settings, tables, wiring, command line."""
