"""Sockets, limits, deadlines and orderly shutdown."""
