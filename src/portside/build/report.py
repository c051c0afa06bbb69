"""The report about one version: a page for a person, and JSON for a program."""

from __future__ import annotations

from portside.model.manifest import Manifest, encode


def render_html(manifest: Manifest) -> str:
    """One self-contained HTML page (no external resources, no scripts)."""
    raise NotImplementedError


def render_json(manifest: Manifest) -> bytes:
    """The manifest as indented UTF-8 JSON."""
    return encode(manifest)
