"""Measures a candidate against its reference and returns evidence with a verdict."""
