"""Every command of `jukinet`, as help shows them, called in the test's own process."""

import typer
from typer.testing import CliRunner, Result

from jukinet.cli.app import build

app = build()


def jukinet(*words: object, command: typer.Typer = app, stdin: str | None = None) -> Result:
    """Runs a command on a terminal of 200 columns. An error that it does not tell of ends the test, as itself."""
    return CliRunner().invoke(
        command, [str(word) for word in words], input=stdin, env={"COLUMNS": "200"}, catch_exceptions=False
    )
