"""Log lines: one JSON object a line for machines, or plain text for a terminal."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from portside.errors import PortsideError

ROOT = "portside"
"""The logger above all of ours."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``ts``, ``level``, ``logger``, ``message``, what ``extra`` held, the exception."""

    def format(self, record: logging.LogRecord) -> str:
        """See :meth:`logging.Formatter.format`."""
        line: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {k: v for k, v in vars(record).items() if k not in _STANDARD and k not in line}
        if record.exc_info and record.exc_info[1] is not None:
            line |= _exception(record.exc_info[1])
            line["trace"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class PlainFormatter(logging.Formatter):
    """``12:30:59.120 WARNING portside.server: message key=value``, then the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """See :meth:`logging.Formatter.format`."""
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        more = "".join(f" {k}={v}" for k, v in vars(record).items() if k not in _STANDARD)
        text = f"{at}.{int(record.msecs):03d} {record.levelname} {record.name}: {record.getMessage()}{more}"
        if record.exc_info and record.exc_info[1] is not None:
            detail = _exception(record.exc_info[1]).get("detail")
            text += f"\n  {detail}" if detail else ""
            text += "\n" + self.formatException(record.exc_info)
        return text


def configure(level: str = "info", *, as_json: bool = False, stream: TextIO | None = None) -> logging.Handler:
    """Sends the log of ``portside`` (and of nothing else) to ``stream``, standard error by default.

    Calling it again replaces what the last call set up.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        as_json: one JSON object a line instead of plain text.
        stream: where to.

    Returns:
        the handler, for whoever wants to take it away again.

    Raises:
        ValueError: for a level that does not exist.
    """
    root = logging.getLogger(ROOT)
    handler = _Ours(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonFormatter() if as_json else PlainFormatter())
    root.setLevel(level.upper())
    for old in [h for h in root.handlers if isinstance(h, _Ours)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.propagate = False
    return handler


class _Ours(logging.StreamHandler[TextIO]):
    """Told apart from handlers that somebody else attached."""


def _exception(error: BaseException) -> dict[str, str]:
    said = {"exception": type(error).__name__, "error": str(error)}
    if isinstance(error, PortsideError):
        said["code"] = error.code.value
        if error.detail:
            said["detail"] = error.detail
    return said
