"""Framework checkpoint to portable graph."""
