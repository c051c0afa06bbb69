"""The pages a server shows to a browser: self-contained, nothing is fetched from elsewhere."""

from __future__ import annotations

from importlib.resources import files


def playground() -> bytes:
    """The page that lists the models and lets a person try them, as UTF-8 HTML."""
    return files("portside.web").joinpath("playground.html").read_bytes()
