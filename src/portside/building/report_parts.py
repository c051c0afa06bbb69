"""Drawings and words that the report's sections share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from portside.building.markup import Markup, join, tag, void
from portside.model.evidence import OutputParity, Verdict

Cell = str | Markup

_DECADES = (-4.0, 1.5)
"""What a gauge shows, in powers of ten of the limit."""
_WIDTH = 190.0


def number(value: float | None, digits: int = 3) -> str:
    """A number for a person; a dash for none."""
    if value is None:
        return "–"
    if 1000 <= abs(value) < 1e7:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}" if value == 0 or 1e-3 <= abs(value) < 1000 else f"{value:.{digits - 1}e}"


def percent(part: float | None) -> str:
    """A part of the whole for a person; never rounded up to 100 %."""
    if part is None:
        return "–"
    shown = math.floor(part * 1000) / 10
    return f"{shown:g} %"


def size(size_bytes: int) -> str:
    """A file size for a person."""
    for unit, digits in (("B", 0), ("kB", 1), ("MB", 1)):
        if size_bytes < 1000 ** (("B", "kB", "MB").index(unit) + 1):
            return f"{size_bytes / 1000 ** ('B', 'kB', 'MB').index(unit):.{digits}f} {unit}"
    return f"{size_bytes / 1000**3:.2f} GB"


def chip(verdict: Verdict | None) -> Markup:
    """A small coloured word."""
    if verdict is None:
        return tag("span", "baseline", class_="chip none")
    return tag("span", verdict.value, class_=f"chip {verdict.value}")


def section(title: str, note: str, *content: Markup) -> Markup:
    """One box of the page."""
    return tag("section", tag("h2", title), *([tag("p", note)] if note else []), *content)


def table(headings: Sequence[str], rows: Iterable[Markup]) -> Markup:
    """A table; headings that start with ``>`` stand over numbers."""
    head = join(tag("th", h.removeprefix(">"), class_="n" if h.startswith(">") else None) for h in headings)
    body = tag("table", tag("thead", tag("tr", head)), tag("tbody", join(rows)))
    return tag("div", body, class_="scroll")


def row(cells: Sequence[Cell], numbers: Sequence[int] = (), class_: str | None = None) -> Markup:
    """A row; ``numbers`` are the indices of cells that hold numbers."""
    return tag(
        "tr", join(tag("td", c, class_="n" if i in numbers else None) for i, c in enumerate(cells)), class_=class_
    )


def facts(pairs: Iterable[tuple[str, Cell]]) -> Markup:
    """Names and values, one a line."""
    return tag("dl", join(join((tag("dt", name), tag("dd", value))) for name, value in pairs), class_="facts")


def bar(value: float, largest: float, shown: str) -> Markup:
    """A number with a bar as long as its part of the largest."""
    part = 0.0 if largest <= 0 else max(0.0, min(1.0, value / largest))
    drawing = tag(
        "svg",
        void("rect", class_="track", width=100, height=10, rx=2),
        void("rect", class_="fill", width=round(100 * part, 2), height=10, rx=2),
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
    return tag("div", drawing, tag("b", shown), class_="bar")


def gauge(parity: OutputParity) -> Markup:
    """Where the largest difference lies between noise and limit, on a logarithmic scale; beyond the limit is red."""
    limit = _place(1.0)
    marks = [
        void("rect", class_="track", y=5, width=limit, height=8, rx=2),
        void("rect", class_="over", x=limit, y=5, width=_WIDTH - limit, height=8, rx=2),
    ]
    if parity.floor > 0 and parity.limit > 0:
        at = _place(parity.floor / parity.limit)
        marks.append(void("line", class_="floor", x1=at, x2=at, y1=3, y2=15))
    marks.append(void("line", class_="limit", x1=limit, x2=limit, y1=1, y2=17))
    at = _place(parity.max_abs / parity.limit if parity.limit > 0 else 0.0)
    marks.append(void("circle", class_="good" if parity.passed else "bad", cx=at, cy=9, r=5))
    label = f"largest difference {number(parity.max_abs)}, limit {number(parity.limit)}, noise {number(parity.floor)}"
    return tag("svg", *marks, viewBox=f"0 0 {_WIDTH:g} 18", class_="gauge", role="img", aria_label=label)


def _place(ratio: float) -> float:
    low, high = _DECADES
    decades = low if ratio <= 0 else max(low, min(high, math.log10(ratio)))
    return round(6 + (_WIDTH - 12) * (decades - low) / (high - low), 1)
