"""How a store looks on disk: names only, no disk.

::

    <root>/<model>/<N>/manifest.json      a version: its record,
    <root>/<model>/<N>/...                and the files that the record lists
    <root>/<model>/aliases.json           aliases and the pin
    <root>/<model>/.retired-<N>           N was deleted: numbers up to N are used up
    <root>/<model>/.publish-<random>/     a version on its way in
    <root>/<model>/.trash-<N>-<random>/   a version on its way out
    <root>/<model>/.names-<random>        an aliases.json on its way in
    <root>/<model>/.lock                  held while any of these names change
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence

from portside.errors import CorruptArtifact
from portside.model.artifact import ArtifactFile
from portside.model.manifest import Manifest

MANIFEST = "manifest.json"
NAMES = "aliases.json"
LOCK = ".lock"

_VERSION = re.compile(r"[1-9][0-9]{0,17}\Z")
_USED = re.compile(r"(?:\.retired-|\.trash-)?([1-9][0-9]{0,17})(?:-[0-9a-f]+)?\Z")
_RETIRED = re.compile(r"\.retired-([1-9][0-9]{0,17})\Z")
_LEFTOVER = re.compile(r"\.(?:publish|names|trash-[0-9]+)-[0-9a-f]+\Z")


def version_of(entry: str) -> int | None:
    """The version whose folder has this name, or ``None`` if no version's has."""
    return int(entry) if _VERSION.match(entry) else None


def next_version(entries: Iterable[str]) -> int:
    """One above the highest number that the names in a model's folder show to have been used."""
    used = (_USED.match(entry) for entry in entries)
    return max((int(match[1]) for match in used if match), default=0) + 1


def outdated_marks(entries: Iterable[str]) -> list[str]:
    """Those of the ``.retired`` marks that a higher one makes superfluous."""
    marks = sorted((int(match[1]), entry) for entry in entries if (match := _RETIRED.match(entry)))
    return [entry for _, entry in marks[:-1]]


def is_retired(entry: str) -> bool:
    """Whether this name in a model's folder says that a version was deleted."""
    return _RETIRED.match(entry) is not None


def is_leftover(entry: str) -> bool:
    """Whether this name in a model's folder belongs to work that has not ended (or never will)."""
    return _LEFTOVER.match(entry) is not None


def staging_name() -> str:
    """A new name for a version on its way in."""
    return f".publish-{secrets.token_hex(8)}"


def names_staging_name() -> str:
    """A new name for an ``aliases.json`` on its way in."""
    return f".names-{secrets.token_hex(8)}"


def trash_name(version: int) -> str:
    """A new name for a version on its way out."""
    return f".trash-{version}-{secrets.token_hex(8)}"


def retired_name(version: int) -> str:
    """The mark that says that numbers up to ``version`` are used up. The name says it all: it cannot be torn."""
    return f".retired-{version}"


def files_of(manifest: Manifest) -> Sequence[ArtifactFile]:
    """Every file that a version consists of, besides its manifest."""
    return (*manifest.artifact.files, *manifest.attachments)


def check_files(manifest: Manifest) -> None:
    """Checks that a manifest's file list can be stored, and stays inside the version's folder.

    Raises:
        CorruptArtifact: a path is absolute, climbs, is listed twice or is taken by the manifest, or the entry is not
            listed.
    """
    seen: set[str] = set()
    for file in files_of(manifest):
        if not _is_relative(file.path) or file.path == MANIFEST:
            raise CorruptArtifact(
                f"the manifest lists the file {file.path!r}: expected a path inside the version, without '..', "
                f"and not {MANIFEST!r}; build the version again"
            )
        if file.path in seen:
            raise CorruptArtifact(f"the manifest lists the file {file.path!r} twice: build the version again")
        seen.add(file.path)
    if manifest.artifact.entry not in {file.path for file in manifest.artifact.files}:
        raise CorruptArtifact(
            f"the manifest's entry {manifest.artifact.entry!r} is not among its files: build the version again"
        )


def _is_relative(path: str) -> bool:
    return "\0" not in path and "\\" not in path and all(p not in {"", ".", ".."} for p in path.split("/"))
