"""Counts, times and progress behind ports."""
