"""The command line. Commands live in ``cli_*.py`` and are imported when they are used, so that ``--help`` is quick."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import version
from typing import Any

import click

from portside.app.exitcodes import EXIT_CODES, HELP
from portside.errors import PortsideError

COMMANDS: dict[str, str] = {
    "up": "portside.app.cli_build:up",
    "build": "portside.app.cli_build:build",
    "convert": "portside.app.cli_build:convert",
    "verify": "portside.app.cli_build:verify",
    "models": "portside.app.cli_models:models",
    "serve": "portside.app.cli_serve:serve",
    "predict": "portside.app.cli_serve:predict",
    "demo": "portside.app.cli_demo:demo",
}
"""Name to ``module:attribute``, in the order of ``--help``."""


class LazyGroup(click.Group):
    """A group whose commands are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports one command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name]} is not a command")
        return command


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=HELP,
)
@click.version_option(version("portside"), prog_name="portside")
def cli() -> None:
    """Portside: from a trained model to a verified, tuned, versioned service.

    \b
    Start here:
      portside demo                                  see the whole way with a real ImageNet network
      portside up model.onnx --samples photos/       build, verify, publish and serve your own
      portside models list                           what is published
    """


def main(argv: list[str] | None = None) -> None:
    """Entry point: runs a command and turns every error into a message and an exit code."""
    try:
        result: Any = cli.main(args=argv, prog_name="portside", standalone_mode=False)
    except click.exceptions.Exit as e:
        sys.exit(e.exit_code)
    except click.ClickException as e:
        e.show()
        sys.exit(e.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except PortsideError as e:
        from portside.app.console import print_error

        print_error(e, json="--json" in (sys.argv if argv is None else argv))
        sys.exit(EXIT_CODES[e.code])
    except BrokenPipeError:
        sys.exit(141)
    sys.exit(result if isinstance(result, int) else 0)
