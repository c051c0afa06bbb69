"""Names and defaults of the settings that several commands share; click reads the environment by these names."""

from __future__ import annotations

from pathlib import Path

DEFAULT_REPOSITORY = Path("models")
"""Where published versions go when neither ``--repository`` nor the environment says."""

REPOSITORY_VARIABLE = "PORTSIDE_REPOSITORY"
HOST_VARIABLE = "PORTSIDE_HOST"
PORT_VARIABLE = "PORTSIDE_PORT"
LOG_LEVEL_VARIABLE = "PORTSIDE_LOG_LEVEL"

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8080


def workspace_of(repository: Path, name: str) -> Path:
    """Where the steps of a build keep their files, so that the next build of the same model can reuse them."""
    return repository / ".builds" / name
