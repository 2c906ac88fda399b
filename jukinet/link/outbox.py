"""A municipality's own changes into its outbox: cut into segments, sealed, chained.

Rule: it happens in the transaction that holds the changes' effect, so that what was accepted is on its way, and what is
on its way was accepted. Sequence numbers come from the stream's row, without gaps.
"""

import hashlib
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from jukinet.link.seal import cut, link_chain, seal, segment_hash
from jukinet.store import journal


def message_key(message_id: str, digest: bytes) -> bytes:
    """What a segment says of a message (電文番号): SHA-256 of its id, then SHA-256 of the submission; 64 bytes.

    A municipal system may build its ids from what concerns nobody above, so they travel as digests.
    """
    return hashlib.sha256(message_id.encode()).digest() + digest


def queue(
    connection: Connection,
    changes: Sequence[bytes],
    *,
    message_keys: Sequence[bytes] = (),
    traceparents: Sequence[str],
    municipality: str,
    key: Ed25519PrivateKey,
    now_us: int,
) -> int:
    """Seals serialised changes in the municipality's name and adds them to the outbox.

    `message_keys` has one a change (`message_key`), or none; `traceparents` one trace context a change, empty where it
    is not traced; `now_us` is microseconds since 1970.
    Returns the last sequence number in the outbox.
    """
    own = journal.read_stream(connection)
    origin = journal.read_origins(connection, [municipality]).get(municipality)
    previous = origin.segment_hash if origin else b""
    last, chain = own.last_sequence, own.chain
    rows = []
    for begin, end in cut(changes):
        first, last = last + 1, last + end - begin
        sealed = seal(
            changes[begin:end],
            municipality=municipality,
            epoch=own.epoch,
            first_sequence=first,
            previous=previous,
            message_keys=message_keys[begin:end],
            key=key,
        )
        previous = segment_hash(sealed.segment)
        chain = link_chain(chain, first_sequence=first, last_sequence=last, segment=previous)
        traced = ",".join(traceparents[begin:end]) if any(traceparents[begin:end]) else ""
        rows.append(journal.OutboxRow(first, last, chain, sealed.segment, sealed.seal, traced, "", last))
    if rows:
        journal.append_outbox(connection, rows)
        journal.write_stream(
            connection, journal.Stream(own.epoch, last, chain, own.neighbour_mark, own.center_mark, now_us)
        )
        journal.write_origin(connection, municipality, journal.Origin(own.epoch, last, previous, now_us))
    return last
