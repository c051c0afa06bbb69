"""The offline line: convert, optimize, verify, tune, publish."""
