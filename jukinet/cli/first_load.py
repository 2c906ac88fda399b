"""`jukinet node load`: a change file into the database of a CS that does not run."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cs_node.first_load import LinesRefused, NotEmpty, first_load
from cs_node.intake import Sealing
from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission
from jukinet.assembly.process import needed
from jukinet.cli.change_file import ChangeFile, ChangeFileRefused, LineProblem, open_change_file
from jukinet.cli.output import Exit, Failure, tell
from jukinet.mesh.clock import now_us, today_in_japan
from jukinet.mesh.errors import name_of
from jukinet.mesh.pki import load_signing_key
from jukinet.store.engine import open_writer
from jukinet.store.migrate import REGISTER, ensure_schema
from jukinet.store.search_keys import renew_keys

if TYPE_CHECKING:
    from jukinet.mesh.config import NodeConfig


def load_register(file: Path, config: "NodeConfig") -> int:
    """Loads a file; gives the number of changes.

    Raises:
        Failure: a line is refused, the register is not empty, or the file cannot be read.
    """
    sealing = Sealing(config.name, load_signing_key(needed(config.sealing.key)))
    try:
        changes = open_change_file(file)
    except (ChangeFileRefused, OSError) as error:
        raise Failure(f"{file}: {error}", Exit.USAGE) from None
    engine = open_writer(config.database)
    try:
        ensure_schema(engine, REGISTER)
        renew_keys(engine)
        with engine.begin() as connection:
            return first_load(connection, _lines(changes), sealing, today=today_in_japan(), at_us=now_us())
    except LinesRefused as refused:
        for number, field, reason in refused.refused:
            _tell(number, changes.header_called(field.rsplit(".", 1)[-1]) if field else "", reason)
        raise Failure(f"{file}: {refused}.") from None
    except NotEmpty as error:
        raise Failure(f"{config.identity}: {error}.") from None
    finally:
        engine.dispose()


def _lines(changes: ChangeFile) -> Iterator[tuple[int, Submission]]:
    for line in changes.lines():
        if isinstance(line.content, LineProblem):
            _tell(line.number, line.content.column, line.content.reason)
            raise Failure(f"{changes.path}: a line cannot be read, and nothing was loaded.")
        yield line.number, line.content


def _tell(number: int, column: str, reason: "ErrorReason.ValueType") -> None:
    tell(f"line {number}{f', {column}' if column else ''}: {name_of(reason)}")
