"""``portside serve`` and ``portside predict``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np

from portside.app.options import json_option, listen_options, repository_option
from portside.app.settings import LOG_LEVEL_VARIABLE
from portside.errors import InvalidRequest, PortsideError
from portside.protocol.base import Limits


@click.command()
@repository_option
@listen_options
@click.option("--only", multiple=True, metavar="NAME", help="Serve only this model; repeat for more.")
@click.option(
    "--poll",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Pause between two looks for new versions; 0: look once, at the start.",
)
@click.option(
    "--drain",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long requests in flight may take after SIGTERM.",
)
@click.option("--cores", type=click.IntRange(1), help="Cores to use (default: all this process may).")
@click.option(
    "--max-body", type=click.IntRange(1), default=64, show_default=True, metavar="MB", help="Longest request body."
)
@click.option(
    "--max-pixels", type=click.IntRange(1), default=64, show_default=True, metavar="MEGAPIXELS", help="Largest picture."
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    envvar=LOG_LEVEL_VARIABLE,
    show_envvar=True,
)
@click.option("--log-json", is_flag=True, help="One JSON object a line.")
@click.option("--access-log", is_flag=True, help="Log every request.")
def serve(repository: Path, host: str, port: int, **given: Any) -> None:  # fmt: skip
    """Serve every model of a repository; new versions are picked up and swapped in without a restart.

    \b
      POST /predict/<model>                  pictures or JSON, through the declared processing
      POST /v1/models/<model>:predict        TensorFlow Serving REST
      POST /v2/models/<model>/infer          Open Inference Protocol, JSON and binary
      GET  /v2/health/ready   /metrics   /   readiness, Prometheus, the playground

    SIGTERM drains: readiness goes off, requests in flight are finished, then it ends.
    """
    from portside.app.wiring import Wanted, run_server
    from portside.observe.logs import configure

    configure(given["log_level"], as_json=given["log_json"])
    limits = Limits(body_bytes=given["max_body"] * 1024 * 1024, pixels=given["max_pixels"] * 1_000_000)
    run_server(
        Wanted(
            repository,
            host,
            port,
            only=given["only"],
            poll_s=given["poll"],
            drain_s=given["drain"],
            cores=given["cores"],
            limits=limits,
            access_log=given["access_log"],
        )
    )


@click.command()
@click.argument("model")
@click.argument("inputs", nargs=-1)
@click.option("--top-k", type=click.IntRange(1), help="Classes in an answer.")
@repository_option
@json_option
def predict(model: str, inputs: tuple[str, ...], top_k: int | None, repository: Path, *, as_json: bool) -> int:
    """Answer INPUTs with MODEL (name, name:3, name:alias) in this process, without a server.

    An INPUT is a picture file, a JSON object of tensors ({"x": [[1, 2]]}), or a JSON file of one. Without INPUT, one a
    line is read from standard input, and the model is loaded only once. With --json each answer is one line.
    """
    from portside.app.api import load

    loaded = load(model, repository)
    lines: Iterable[str] = inputs or (line.strip() for line in sys.stdin)
    failed = 0
    for text in filter(None, lines):
        began = time.perf_counter()
        try:
            answer = _answer(loaded, text, top_k)
        except PortsideError as e:
            failed += 1
            if as_json:
                click.echo(json.dumps({"input": text, "error": {"code": e.code.value, "message": e.message}}))
            else:
                click.echo(f"{text}: error: {e.message}", err=True)
            continue
        took_ms = (time.perf_counter() - began) * 1000
        if as_json:
            click.echo(json.dumps({"input": text, **answer}, default=_plain))
        else:
            click.echo(f"{text}: {_line(answer)}  ({took_ms:.1f} ms)")
        sys.stdout.flush()
    return 2 if failed else 0


def _answer(loaded: Any, text: str, top_k: int | None) -> dict[str, Any]:
    """One input answered, as plain data. Raises PortsideError."""
    if text.startswith("{"):
        return {"outputs": _tensors(loaded, text)}
    path = Path(text)
    if path.suffix == ".json":
        try:
            return {"outputs": _tensors(loaded, path.read_text("utf-8"))}
        except (OSError, ValueError) as e:
            raise InvalidRequest(f"{text} cannot be read: {e}") from e
    prediction = loaded.predict(path, top_k)[0]
    if prediction.classes:
        return {"classes": msgspec.to_builtins(prediction.classes)}
    return {"outputs": dict(prediction.outputs)}


def _tensors(loaded: Any, text: str) -> dict[str, np.ndarray[Any, Any]]:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise InvalidRequest(f"not JSON that can be read: {e}") from e
    if not isinstance(given, dict):
        raise InvalidRequest('expected a JSON object of tensors by input name, e.g. {"x": [[1, 2]]}')
    outputs: dict[str, np.ndarray[Any, Any]] = loaded(**given)
    return outputs


def _plain(value: Any) -> Any:
    """What JSON does not know: arrays, and the bytes in arrays of strings."""
    return value.tolist() if isinstance(value, np.ndarray) else value.decode("utf-8", "replace")


def _line(answer: dict[str, Any]) -> str:
    if "classes" in answer:
        return ", ".join(f"{c['label']} {c['score']:.1%}" for c in answer["classes"])
    return "  ".join(
        f"{name} = {np.array2string(a, precision=5, threshold=20)}" for name, a in answer["outputs"].items()
    )
