"""What a witness keeps: its key's name, and of each log the note of the latest checkpoint that it cosigned.

Rule: one key, one database, for good. A witness that lost its database would cosign whatever it is shown, the tree that
it saw last and any other. So the first start binds the two: the database names the key, and a mark beside the key says
that it has a database. Where only one of them is left, the witness does not start; it is retired, and a new one with a
new key takes its place.

Source: c2sp.org/tlog-witness; decision 0049.
"""

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Column, Connection, Engine, Integer, MetaData, String, Table, Text, bindparam, insert, select

from jukinet.ledger import witness
from jukinet.ledger.cosignature import WitnessKey
from jukinet.ledger.errors import WitnessRetired
from jukinet.ledger.verify.notes import Key
from jukinet.ledger.witness import Known
from jukinet.store.boot import MarkerFile
from jukinet.store.statement import Prepared, keep

metadata = MetaData()

founded = Table("witness", metadata, Column("id", Integer, primary_key=True), Column("key", Text, nullable=False))
witnessed = Table(
    "witnessed",
    metadata,
    Column("origin", String(255), primary_key=True),
    Column("note", Text, nullable=False, comment="C2SP signed note, as its log signed it"),
)

_NOTE = Prepared(select(witnessed.c.note).where(witnessed.c.origin == bindparam("origin")))
_KEEP = keep(witnessed, "origin")


def found(engine: Engine, key: WitnessKey, key_file: Path) -> None:
    """Binds key and database to each other at the first start, and compares them at every later one.

    Args:
        engine: of `open_writer`.
        key: by which the witness cosigns.
        key_file: where it lies; the mark lies beside it.
    Raises:
        WitnessRetired: one of the two is not what it was.
    """
    mark = MarkerFile(key_file.with_name(f"{key_file.name}.used"))
    marked = mark.read() is not None
    with engine.begin() as connection:
        known = connection.execute(select(founded.c.key)).scalar_one_or_none()
        if known is None and marked:
            raise WitnessRetired("The key cosigned before, and its database is not here.")
        if known is not None and known != str(key):
            raise WitnessRetired("The database is that of another key.")
        if known is None:
            connection.execute(insert(founded), {"id": 1, "key": str(key)})
    if not marked:
        mark.write(f"{key}\n".encode())


def latest(connection: Connection, origin: str, key: Key) -> Known:
    """The latest checkpoint of a log that was cosigned, its signature verified again. Raises LedgerCorrupt."""
    row = _NOTE.row(connection, {"origin": origin})
    return witness.recall(row[0] if row else None, key)


def remember(connection: Connection, origin: str, known: Known) -> None:
    """Puts a checkpoint in the place of the one before it, in the caller's transaction."""
    _KEEP.write(connection, [{"origin": origin, "note": known.note}])


def require_sound(connection: Connection, keys: Mapping[str, Key]) -> None:
    """Reads the checkpoint of every log that the witness knows. Raises LedgerCorrupt when one is not what it was."""
    for origin, key in keys.items():
        latest(connection, origin, key)
