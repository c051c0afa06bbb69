from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from portside.errors import EngineFailed
from portside.observe.logs import ROOT, configure


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger(ROOT)
    level, handlers, propagate = root.level, root.handlers[:], root.propagate
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    root.propagate = propagate


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_one_json_object_a_line() -> None:
    stream = io.StringIO()
    configure("info", as_json=True, stream=stream)
    log = logging.getLogger("portside.test")
    log.info("loaded %s\nnow", "m", extra={"model": "m", "version": 3, "odd": object})
    log.debug("not shown")
    (line,) = lines(stream)
    assert line["message"] == "loaded m\nnow"
    assert (line["level"], line["logger"], line["model"], line["version"]) == ("info", "portside.test", "m", 3)
    assert str(line["ts"]).endswith("+00:00")
    assert "taskName" not in line


def test_an_exception_with_its_detail_and_trace() -> None:
    stream = io.StringIO()
    configure("info", as_json=True, stream=stream)
    try:
        raise EngineFailed("it broke", detail="/models/m/1: bad node")
    except EngineFailed:
        logging.getLogger("portside.test").exception("no luck")
    (line,) = lines(stream)
    assert (line["exception"], line["error"], line["code"]) == ("EngineFailed", "it broke", "ENGINE_FAILED")
    assert line["detail"] == "/models/m/1: bad node"
    assert "Traceback" in str(line["trace"])


def test_an_extra_cannot_replace_what_a_line_says() -> None:
    stream = io.StringIO()
    configure("info", as_json=True, stream=stream)
    logging.getLogger("portside.test").info("true", extra={"level": "lie", "ts": "lie", "logger": "lie"})
    (line,) = lines(stream)
    assert (line["level"], line["logger"]) == ("info", "portside.test")
    assert line["ts"] != "lie"


def test_plain_text() -> None:
    stream = io.StringIO()
    configure("warning", stream=stream)
    log = logging.getLogger("portside.test")
    log.info("not shown")
    try:
        raise EngineFailed("it broke", detail="the detail")
    except EngineFailed:
        log.warning("careful", extra={"model": "m"}, exc_info=True)
    text = stream.getvalue()
    assert "WARNING portside.test: careful model=m\n  the detail\nTraceback" in text
    assert "not shown" not in text


def test_again_replaces_and_strangers_stay() -> None:
    first, second = io.StringIO(), io.StringIO()
    stranger = logging.NullHandler()
    logging.getLogger(ROOT).addHandler(stranger)
    configure("info", stream=first)
    configure("info", stream=second)
    logging.getLogger("portside.test").info("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1
    assert stranger in logging.getLogger(ROOT).handlers


def test_an_unknown_level() -> None:
    with pytest.raises(ValueError, match="LOUD"):
        configure("loud")
