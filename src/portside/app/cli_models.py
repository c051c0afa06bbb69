"""``portside models``: what is published, which names point where, and how it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from portside.app.console import megabytes, print_json, print_table, table
from portside.app.options import json_option, repository_option
from portside.errors import AliasNotFound, Conflict, InvalidRequest, VersionNotFound
from portside.model.evidence import Evidence, Measurement, Verdict
from portside.model.manifest import Manifest
from portside.model.ref import ModelRef, check_name
from portside.repository.base import ModelState, Pin, Repository
from portside.repository.local import LocalRepository

MARKS = {Verdict.PASS: "[green]pass[/green]", Verdict.FAIL: "[red]fail[/red]"}


@click.group()
def models() -> None:
    """Look at and change what is published in a repository."""


@models.command("list")
@repository_option
@json_option
def list_models(repository: Path, *, as_json: bool) -> None:
    """List every version of every model."""
    store = LocalRepository(repository)
    names = store.models() if repository.exists() else ()
    rows = [_summary(store, state, v) for state in map(store.state, names) for v in reversed(state.versions)]
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo(f"No models in {repository} yet. Publish one: portside build SOURCE --name NAME")
        return
    columns = ("model", "version", "", "verdict", "engine", "ms", "size", "created")
    cells = [
        (
            escape(r["model"]),
            str(r["version"]),
            escape(", ".join((["current"] if r["current"] else []) + r["aliases"])),
            _mark(r["verdict"], forced=r["forced"]),
            r["engine"],
            f"{r['latency_ms']:.2f}" if r["latency_ms"] is not None else "",
            megabytes(r["size_bytes"]),
            r["created"][:16].replace("T", " "),
        )
        for r in rows
    ]
    print_table(table("", columns, cells, right=frozenset({1, 5, 6})))


@models.command()
@click.argument("model")
@repository_option
@json_option
def show(model: str, repository: Path, *, as_json: bool) -> None:
    """Show one version: MODEL, MODEL:VERSION or MODEL:ALIAS."""
    store = LocalRepository(repository)
    manifest = store.manifest(*resolve(store, ModelRef.parse(model)))
    if as_json:
        print_json(manifest)
        return
    _print_manifest(manifest, store.state(manifest.name))


@models.command()
@click.argument("model")
@click.argument("name")
@click.argument("version", type=click.IntRange(1), required=False)
@click.option("--drop", is_flag=True, help="Remove the alias instead.")
@repository_option
def alias(model: str, name: str, version: int | None, repository: Path, *, drop: bool) -> None:
    """Point alias NAME of MODEL at VERSION, e.g. `portside models alias cats canary 7`."""
    store = LocalRepository(repository)
    if drop:
        store.drop_alias(model, name)
        click.echo(f"{model}: alias {name} removed")
    elif version is None:
        raise InvalidRequest("which version? e.g. portside models alias MODEL NAME 7, or --drop to remove the alias")
    else:
        store.set_alias(model, name, version)
        click.echo(f"{model}: {name} -> {version}")


@models.command()
@click.argument("model")
@click.option("--to", "target", metavar="VERSION|latest", help="Which version; 'latest' releases an earlier rollback.")
@click.option("--hold", is_flag=True, help="Stay there even when a newer version is published.")
@repository_option
def rollback(model: str, target: str | None, repository: Path, *, hold: bool) -> None:
    """Make an older version of MODEL current (the one before, if --to is not given). Running servers follow."""
    store = LocalRepository(repository)
    state = store.state(check_name(model))
    if target == "latest":
        store.set_pin(model, None)
    else:
        version = _rollback_target(state, target)
        store.set_pin(model, Pin(version, None if hold else state.versions[-1]))
    click.echo(f"{model}: current version is {store.state(model).current}")


@models.command()
@click.argument("model")
@click.option("--force", is_flag=True, help="Even if it is current, pinned or has an alias.")
@repository_option
def delete(model: str, repository: Path, *, force: bool) -> None:
    """Delete a version (MODEL:VERSION). Its number is never used again."""
    ref = ModelRef.parse(model)
    if ref.version is None:
        raise InvalidRequest(f"{model!r} does not name a version: say which one, e.g. {ref.name}:1")
    LocalRepository(repository).delete(ref.name, ref.version, force=force)
    click.echo(f"{ref}: deleted")


@models.command()
@click.option("--keep", type=click.IntRange(1), help="Also delete all but the newest N versions of each model.")
@click.option("--min-age", default=3600.0, show_default=True, metavar="SECONDS", help="Leave younger leftovers alone.")
@repository_option
@json_option
def gc(keep: int | None, min_age: float, repository: Path, *, as_json: bool) -> None:
    """Remove what interrupted work left behind, and old versions with --keep."""
    removed = list(LocalRepository(repository).collect_garbage(keep=keep, min_age_s=min_age))
    if as_json:
        print_json({"removed": removed})
        return
    click.echo("\n".join(removed) or "nothing to remove")


@models.command()
@click.argument("model", required=False)
@repository_option
@json_option
def check(model: str | None, repository: Path, *, as_json: bool) -> int:
    """Digest every file again and compare with the manifests: of one MODEL[:VERSION], or of all."""
    store = LocalRepository(repository)
    wanted = store.stored()
    if model is not None:
        ref = ModelRef.parse(model)
        version = ref.version if ref.alias is None else resolve(store, ref)[1]
        wanted = [(n, v) for n, v in wanted if n == ref.name and version in {None, v}] or [resolve(store, ref)]
    found = {f"{name}:{version}": list(store.check(name, version)) for name, version in wanted}
    if as_json:
        print_json({"versions": found})
    else:
        for which, problems in found.items():
            click.echo(f"{which}: {'ok' if not problems else '; '.join(problems)}")
    return 7 if any(found.values()) else 0


def resolve(store: Repository, ref: ModelRef) -> tuple[str, int]:
    """The name and version number that a reference means now. Raises the repository's NotFound errors."""
    state = store.state(ref.name)
    if ref.version is not None:
        if ref.version not in state.versions:
            known = ", ".join(map(str, state.versions))
            raise VersionNotFound(f"{ref.name} has no version {ref.version}; it has {known}")
        return ref.name, ref.version
    if ref.alias is not None:
        if ref.alias not in state.aliases:
            known = ", ".join(state.aliases) or "none"
            raise AliasNotFound(f"{ref.name} has no alias {ref.alias!r}; its aliases: {known}")
        return ref.name, state.aliases[ref.alias]
    if state.current is None:
        raise VersionNotFound(f"{ref.name} has no version")
    return ref.name, state.current


def _rollback_target(state: ModelState, target: str | None) -> int:
    if target is None:
        older = [v for v in state.versions if state.current is not None and v < state.current]
        if not older:
            raise Conflict(f"{state.name} has no version older than the current one ({state.current})")
        return older[-1]
    if not target.isdigit():
        raise InvalidRequest(f"--to {target!r}: expected a version number or 'latest'")
    if int(target) not in state.versions:
        raise VersionNotFound(f"{state.name} has no version {target}; it has {', '.join(map(str, state.versions))}")
    return int(target)


def _summary(store: Repository, state: ModelState, version: int) -> dict[str, Any]:
    manifest = store.manifest(state.name, version)
    chosen = next((m for m in manifest.measurements if m.chosen), None)
    return {
        "model": state.name,
        "version": version,
        "current": state.current == version,
        "aliases": sorted(a for a, v in state.aliases.items() if v == version),
        "verdict": manifest.verdict.value,
        "forced": manifest.forced,
        "engine": str(manifest.config),
        "latency_ms": chosen.latency_ms if chosen else None,
        "size_bytes": manifest.artifact.size_bytes,
        "created": manifest.created,
        "source": manifest.provenance.source,
    }


def _mark(verdict: str, *, forced: bool) -> str:
    mark = MARKS.get(Verdict(verdict), f"[yellow]{verdict}[/yellow]")
    return f"{mark} [bold red]FORCED[/bold red]" if forced else mark


def _print_manifest(m: Manifest, state: ModelState) -> None:
    names = (["current"] if state.current == m.version else []) + [
        a for a, v in state.aliases.items() if v == m.version
    ]
    facts = [
        ("version", f"{m.version}" + (f" ({escape(', '.join(names))})" if names else "")),
        ("created", m.created),
        ("source", f"{escape(m.provenance.source)} ({escape(m.provenance.framework)})"),
        ("inputs", "\n".join(escape(str(s)) for s in m.signature.inputs)),
        ("outputs", "\n".join(escape(str(s)) for s in m.signature.outputs)),
        ("artifact", f"{m.artifact.format.value}, {megabytes(m.artifact.size_bytes)}, {m.artifact.digest[:16]}…"),
        ("runs on", str(m.config)),
        ("verdict", _mark(m.verdict.value, forced=m.forced) + "".join(f"\n{escape(r)}" for r in m.evidence.reasons)),
    ]
    print_table(table(m.name, ("", ""), facts))
    if m.evidence.outputs:
        click.echo()
        print_table(parity_table(m.evidence))
    if m.measurements:
        click.echo()
        print_table(tuner_table(m.measurements))


def parity_table(evidence: Evidence) -> Any:
    """The parity rows for a person."""
    columns = ("output", "inputs", "rows", "max |Δ|", "limit", "mean |Δ|", "cosine", "top-1", "top-5", "")
    cells = [
        (
            escape(o.name), o.kind.value, str(o.rows), f"{o.max_abs:.2e}", f"{o.limit:.2e}", f"{o.mean_abs:.2e}",
            f"{o.cosine:.6f}", _percent(o.top1), _percent(o.top5), "[green]✓[/green]" if o.passed else "[red]✗[/red]",
        )
        for o in evidence.outputs
    ]  # fmt: skip
    return table("Parity with the original framework", columns, cells, right=frozenset(range(2, 9)))


def tuner_table(rows: tuple[Measurement, ...]) -> Any:
    """The tuner's measurements for a person."""
    columns = (
        "",
        "precision",
        "instances x threads",
        "latency ms",
        "p95 ms",
        "rows/s",
        "speed-up",
        "top-1",
        "gate",
        "",
    )
    cells = [
        (
            escape(r.label), r.precision, f"{r.instances} x {r.threads}", f"{r.latency_ms:.2f}", f"{r.p95_ms:.2f}",
            f"{r.throughput_rps:.0f}", f"{r.speedup:.1f}x", _percent(r.top1),
            MARKS.get(r.verdict, r.verdict.value) if r.verdict else "",
            "[bold green]chosen[/bold green]" if r.chosen else escape(r.reason),
        )
        for r in rows
    ]  # fmt: skip
    return table("Measured on this machine", columns, cells, right=frozenset(range(3, 8)))


def _percent(part: float | None) -> str:
    return "" if part is None else f"{100 * part:.1f} %"
