"""`jukinet node`: one node in the foreground, and its database migration.

Rule: what keeps a node from starting is told in one sentence and an exit code, never as a traceback: its operator has
to know which file or process to look at.
"""

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from jukinet.cli.output import Exit, Failure, failures_told, show, tell

if TYPE_CHECKING:
    from jukinet.mesh.config import NodeConfig

app = typer.Typer(
    no_args_is_help=True,
    help="One node: a CS (コミュニケーションサーバ), a prefecture server, the national center, an agency gateway, a "
    "witness (立会人) or the disclosure node (開示).",
)

_PACKAGES: Final = {
    "municipality": "cs_node",
    "prefecture": "prefecture_node",
    "center": "center_node",
    "gateway": "agency_gateway",
    "witness": "jukinet.witness",
    "disclosure": "jukinet.disclosure",
}
_GARBAGE_OBJECTS: Final = 20_000
"""New objects until a search for garbage, of a node that starts: it makes a hundred thousand that stay. Python's own
limit is 700, with which the searches are a tenth of a start."""
ConfigOption = Annotated[Path, typer.Option("--config", help="The node's TOML file.", metavar="FILE")]


@app.command()
def run(
    config: ConfigOption,
    until_stdin_closes: Annotated[
        bool, typer.Option("--until-stdin-closes", help="Drain as well when standard input ends.")
    ] = False,
) -> None:
    """Run one node in the foreground; SIGTERM or Ctrl-C drains it.

    Exit codes: 0 drained, 1 a part failed while it ran, 5 a configuration, certificate, key or policy file cannot be
    used or the address is taken, 6 the database cannot be used, 7 the disk failed while it ran, 8 a witness contradicts
    the ledger, or this witness is to be retired.

    Example: jukinet node run --config mesh/nodes/center/node.toml
    """
    gc.set_threshold(_GARBAGE_OBJECTS)
    if until_stdin_closes:
        from jukinet.cli.processes import end_when_stdin_closes

        end_when_stdin_closes()
    with failures_told(), start_errors_told():
        from jukinet.mesh import failpoints

        failpoints.arm(os.environ, parent=os.getppid())
        loaded = _load(config)
        node: Callable[[NodeConfig], Awaitable[None]] = import_module(f"{_PACKAGES[loaded.role]}.node").run
        asyncio.run(_run(node, loaded))


@app.command()
def migrate(config: ConfigOption) -> None:
    """Bring a node's databases to the schema of this program. Stop the node and make a backup first.

    Example: jukinet node migrate --config mesh/nodes/center/node.toml
    """
    with failures_told(), start_errors_told():
        from jukinet.store import engine
        from jukinet.store import migrate as migration

        loaded = _load(config)
        scripts = migration.REGISTER
        if loaded.role in ("gateway", "witness", "disclosure"):
            scripts = import_module(f"{_PACKAGES[loaded.role]}.node").MIGRATIONS
        databases = {loaded.database: scripts}
        if loaded.role == "center":
            databases[f"sqlite:///{loaded.center.body_keys}"] = import_module("center_node.body_keys").MIGRATIONS
        for url, scripts in databases.items():
            writer = engine.open_writer(url)
            try:
                migration.migrate(writer, scripts)
            finally:
                writer.dispose()
        show(f"The database of {loaded.identity} has the schema of this program.")


@app.command()
def load(
    file: Annotated[Path, typer.Argument(help="CSV or JSON lines: one entry a resident.", metavar="FILE")],
    config: ConfigOption,
) -> None:
    """Load a municipality's whole register into its new CS (初期一括送信), all of it or nothing. The CS must not run.

    When the CS runs it brings the register to the nodes above as a signed snapshot.

    Exit codes: 0 loaded, 1 lines were refused or the register is not empty and nothing was loaded, 2 the file cannot be
    read, 5 the configuration or a key cannot be used, 6 the database cannot be used.

    Example: jukinet node load register.csv --config mesh/nodes/municipality-131016/node.toml
    """
    with failures_told(), start_errors_told():
        from jukinet.cli.first_load import load_register

        loaded = _load(config)
        if loaded.role != "municipality":
            raise Failure(f"{config} is not the configuration of a CS.", Exit.USAGE)
        count = load_register(file, loaded)
        show(f"The register of {loaded.identity} holds {count} changes.")


def _load(path: Path) -> "NodeConfig":
    from jukinet.mesh.config_file import load_config

    return load_config(path)


async def _run(node: "Callable[[NodeConfig], Awaitable[None]]", config: "NodeConfig") -> None:
    from jukinet.assembly.process import PartFailed

    try:
        await node(config)
    except PartFailed as failed:
        tell(_sentence(failed))
        os._exit(_exit_code(failed) or Exit.REFUSED)  # at once, as `PartFailed` says


@contextmanager
def start_errors_told() -> Iterator[None]:
    """Turns what keeps a node from starting into a Failure.

    Raises:
        Failure: instead of any error that an operator can do something about.
    """
    try:
        yield
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        raise Failure(_sentence(error), code) from None


def _sentence(error: Exception) -> str:
    return f"The node does not run: {error}"


def _exit_code(error: Exception) -> Exit | None:
    from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

    from jukinet.assembly.process import PartFailed
    from jukinet.ledger.errors import LedgerContradicted, LedgerError, WitnessRetired
    from jukinet.mesh.callers import CallersError
    from jukinet.mesh.config import ConfigError
    from jukinet.mesh.metrics import MetricsError
    from jukinet.mesh.pki import PkiError
    from jukinet.mesh.server import ListenError
    from jukinet.mesh.tls import TlsError
    from jukinet.purpose.agencies import AgencyDirectoryError
    from jukinet.purpose.decision import PolicyError
    from jukinet.purpose.statute import StatuteTableError
    from jukinet.store.errors import SchemaMismatch, StorageFailed, StoreBusy, StoreError

    if isinstance(error, PartFailed) and isinstance(error.__cause__, StorageFailed | LedgerError):
        error = error.__cause__
    known: tuple[tuple[Exit, tuple[Any, ...]], ...] = (
        (
            Exit.CONFIGURATION,
            (
                ConfigError,
                TlsError,
                PkiError,
                PolicyError,
                StatuteTableError,
                AgencyDirectoryError,
                CallersError,
                ListenError,
                MetricsError,
            ),
        ),
        (Exit.STORAGE, (StorageFailed,)),
        (Exit.CONTRADICTED, (LedgerContradicted, WitnessRetired)),
        (Exit.DATABASE, (SchemaMismatch, StoreBusy, StoreError, LedgerError, DBAPIError)),
        (Exit.CONFIGURATION, (ArgumentError, NoSuchModuleError)),
        (Exit.REFUSED, (PartFailed,)),
    )
    return next((code for code, kinds in known if isinstance(error, kinds)), None)
