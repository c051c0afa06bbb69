"""How a model, a version or an alias is named."""

from __future__ import annotations

import re

import msgspec

from portside.errors import InvalidRequest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")

_VERSION_DIGITS = 18


def check_name(name: str, kind: str = "a model name") -> str:
    """Returns ``name`` if it may name a model or an alias.

    Raises:
        InvalidRequest: for anything that could leave the repository (``/``, ``..``) or is not
            ``[A-Za-z0-9][A-Za-z0-9._-]*`` of at most 128 characters.
    """
    if _NAME.match(name) is None or ".." in name:
        shown = name if len(name) <= 64 else name[:64] + "…"
        raise InvalidRequest(
            f"{shown!r} is not {kind}: expected letters, digits, '.', '_' or '-', at most 128 characters, "
            "starting with a letter or a digit, without '..'"
        )
    return name


def check_alias(alias: str) -> str:
    """Like :func:`check_name`, and an alias must not look like a version number. Raises InvalidRequest."""
    check_name(alias, "an alias")
    if alias.isdigit():
        raise InvalidRequest(f"{alias!r} is not an alias: digits alone name a version")
    return alias


class ModelRef(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model, and which of its versions: a number, an alias, or neither (the one that is current).

    Attributes:
        name: model name.
        version: a positive version number, or ``None``.
        alias: an alias, or ``None``. At most one of ``version`` and ``alias`` is set.
    """

    name: str
    version: int | None = None
    alias: str | None = None

    @staticmethod
    def parse(text: str) -> ModelRef:
        """Reads ``name``, ``name:3`` or ``name:alias`` (the command line's spelling). Raises InvalidRequest."""
        name, colon, which = text.partition(":")
        check_name(name)
        if not colon:
            return ModelRef(name)
        if which.isascii() and which.isdigit() and len(which) <= _VERSION_DIGITS and int(which) > 0:
            return ModelRef(name, version=int(which))
        return ModelRef(name, alias=check_alias(which))

    def __str__(self) -> str:
        which = self.version if self.version is not None else self.alias
        return self.name if which is None else f"{self.name}:{which}"
