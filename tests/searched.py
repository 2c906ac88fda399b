"""The search of `jukinet.store.search` for one question."""

from datetime import date

from sqlalchemy import Connection

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import FourItems, Subject
from jukinet._pb.jukinet.register.v1.identity_pb2 import Resident
from jukinet.store import search


def by_four_items(connection: Connection, items: FourItems, *, day: date) -> Resident | None:
    """Raises RecordDamaged."""
    return _found(connection, Subject(four_items=items), day)


def by_individual_number(connection: Connection, number: str, *, day: date) -> Resident | None:
    """Raises RecordDamaged."""
    return _found(connection, Subject(individual_number=number), day)


def _found(connection: Connection, subject: Subject, day: date) -> Resident | None:
    (found,) = search.find(connection, [subject], day=day)
    if isinstance(found, Exception):
        raise found
    return found
