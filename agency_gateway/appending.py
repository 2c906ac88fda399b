"""What a group of entries does to the ledger's database, in one transaction.

It runs in the process that writes (`jukinet.store.writer_process`), so all of it comes and goes as bytes: a message is
serialised once, by who made it.
"""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine

from agency_gateway.provided import add_provided
from agency_gateway.recall_store import items_in
from agency_gateway.tail import Tail, known_by, read_tail
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import RESULT_REFUSED, Entry
from jukinet.ledger import schema
from jukinet.ledger import store as ledger
from jukinet.ledger.note import Signer
from jukinet.mesh.errors import Refused
from jukinet.mesh.failpoints import passing
from jukinet.mesh.pki import load_signing_key
from jukinet.store.engine import open_writer
from jukinet.store.migrate import ensure_schema
from jukinet.store.statement import Rows

Act = Callable[[Connection], bool]
"""Does something that must be on record; tells whether it did anything that has its entry now, or raises Refused before
it has written. A function of a module, with `functools.partial` where it has arguments."""
Sign = Callable[[], Signer]
"""Gives the ledger's key, where it is needed: it travels from no process to another."""

MIGRATIONS: Final = Path(__file__).parent / "migrations"
_TAILS: Final[WeakKeyDictionary[Engine, Tail]] = WeakKeyDictionary()
"""Of each ledger that this process writes."""
_ADD_BODY = Rows(schema.bodies, ["leaf_index", "sealed"])


class Handed(NamedTuple):
    """What becomes durable together: an entry, those of a message, or an act and its entry."""

    leaves: list[bytes]
    """Serialised entries."""
    bodies: list[bytes]
    """The sealed body of each; empty where it has none."""
    marks: list[bytes]
    """The recall mark of what each provided; empty where nothing was."""
    act: Act | None = None


class Kept(NamedTuple):
    """What became of that."""

    receipts: list[bytes]
    """Serialised, one an entry."""
    repeated: bool
    """Whether the request id was used before; the entries say that it was refused then."""


def open_ledger(url: str) -> Engine:
    """Opens the ledger's database for its one writer. Raises StoreError, SchemaMismatch."""
    engine = open_writer(url)
    ensure_schema(engine, MIGRATIONS)
    return engine


@cache
def signer_of(origin: str, key: Path) -> Signer:
    """The ledger's signer, by the file of its key. Raises PkiError."""
    return Signer(origin, load_signing_key(key))


def load(connection: Connection, sign: Sign) -> int:
    """Begins to append, with the state that `jukinet.ledger.store.load` derives. Returns the number of entries."""
    state = ledger.load(connection, sign())
    _TAILS[connection.engine] = read_tail(connection, state)
    return state.frontier.size


def append(connection: Connection, group: Sequence[Handed], sign: Sign) -> tuple[int, list[Kept | Refused]]:
    """Carries out what is to be on record and appends all entries under one checkpoint.

    Args:
        connection: in a transaction that is committed before the result is used; `load` was given one of the same
            engine, and at most `tail.UNDER_WAY` groups are appended before it is known whether the first is committed.
        group: in their order; of two with one request id the first one is answered.
        sign: gives the ledger's key.

    Returns: the number of entries, and what became of each. Raises LedgerError.
    """
    tail = _TAILS[connection.engine]
    state = tail.state(connection)
    outcomes = [_carry_out(connection, handed.act) for handed in group]
    recorded = [handed for handed, outcome in zip(group, outcomes, strict=True) if outcome is None]
    known = [known_by(handed.leaves[0]) for handed in recorded]
    passing("ledger.judged")
    used_before = tail.used(connection, set(known))
    used = set(used_before)
    kept: list[Handed] = []
    repeated: list[bool] = []
    for handed, by in zip(recorded, known, strict=True):
        repeated.append(by in used and not _is_banned(handed))
        used.add(by)
        kept.append(_as_reused(handed) if repeated[-1] else handed)
    receipts: list[bytes] = []
    if kept:  # a group without entries leaves the checkpoint, by which the tail sees what was rolled back, as it was
        state, receipts = _add(connection, kept, state, sign())
        tail.add(connection, state, used - used_before)
    passing("ledger.appended")
    left = iter(receipts)
    told = (
        Kept(list(islice(left, len(handed.leaves))), again) for handed, again in zip(recorded, repeated, strict=True)
    )
    return state.frontier.size, [next(told) if outcome is None else outcome for outcome in outcomes]


def _add(
    connection: Connection, kept: Sequence[Handed], state: ledger.LedgerState, signer: Signer
) -> tuple[ledger.LedgerState, list[bytes]]:
    leaves = [leaf for handed in kept for leaf in handed.leaves]
    bodies = (body for handed in kept for body in handed.bodies)
    marks = (mark for handed in kept for mark in handed.marks)
    first = state.frontier.size
    state, receipts = ledger.append(connection, state, leaves, signer)
    _ADD_BODY.write(connection, [(index, body) for index, body in enumerate(bodies, first) if body])
    marked = zip(leaves, marks, strict=True)
    add_provided(
        connection,
        [(index, mark, items_in(Entry.FromString(leaf))) for index, (leaf, mark) in enumerate(marked, first) if mark],
    )
    return state, [receipt.SerializeToString() for receipt in receipts]


def _carry_out(connection: Connection, act: Act | None) -> Kept | Refused | None:
    """What becomes of an act that leaves no entry; None where there is one to be written."""
    if act is None:
        return None
    try:
        return None if act(connection) else Kept([], repeated=False)
    except Refused as refused:
        return refused


def _is_banned(handed: Handed) -> bool:
    """Attempts of private organisations are counted to the last one, under whatever id they come."""
    return Entry.FromString(handed.leaves[0]).refusal == errors.ERROR_REASON_PRIVATE_SECTOR_BANNED


def _as_reused(handed: Handed) -> Handed:
    nothing = [b""] * len(handed.leaves)
    return Handed(list(map(_refused, handed.leaves)), nothing, nothing)


def _refused(leaf: bytes) -> bytes:
    refused = Entry.FromString(leaf)
    refused.result = RESULT_REFUSED
    refused.refusal = errors.ERROR_REASON_REQUEST_ID_REUSED
    refused.answer_digest = b""
    refused.person_token = b""
    refused.body_digest = b""
    refused.sealed_until = ""
    del refused.fields[:]
    return refused.SerializeToString(deterministic=True)
