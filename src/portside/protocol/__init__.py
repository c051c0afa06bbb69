"""Bytes to requests, responses to bytes, errors to statuses. No sockets."""
