"""HTML that cannot forget to escape: text is escaped unless it is already :class:`Markup`."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping


class Markup(str):
    """Finished HTML. Made by :func:`tag` and :func:`join`; everything else is text."""

    __slots__ = ()


def tag(name: str, /, *children: str | Markup, **attributes: object) -> Markup:
    """One element.

    Args:
        name: of the element.
        children: its content; text is escaped, :class:`Markup` is not.
        attributes: ``class_`` stands for ``class``, an underscore for a hyphen; ``None`` leaves one out.
    """
    return Markup(f"<{name}{_attributes(attributes)}>{join(children)}</{name}>")


def void(name: str, /, **attributes: object) -> Markup:
    """One element without content. Arguments as for :func:`tag`."""
    return Markup(f"<{name}{_attributes(attributes)}/>")


def join(parts: Iterable[str | Markup]) -> Markup:
    """Several pieces one after another, text escaped."""
    return Markup("".join(part if isinstance(part, Markup) else html.escape(part) for part in parts))


def _attributes(attributes: Mapping[str, object]) -> str:
    named = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items() if value is not None}
    return "".join(f' {name}="{html.escape(str(value))}"' for name, value in named.items())
