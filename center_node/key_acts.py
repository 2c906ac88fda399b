"""What operators did with the keys of bodies: rows of `operator_acts` in the register, never changed.

A key is named in the column `edition`: a month, a person's name, or the digest of a question whose body is opened. A
proposal stands until it is carried out; the next time takes a new one.

Each function works within the caller's transaction.
"""

import hashlib
from typing import Final

from sqlalchemy import Connection, select

from jukinet._pb.jukinet.body.v1.body_pb2 import OpenBodyRequest
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.mesh.errors import Refused
from jukinet.store.operator_acts import note_about
from jukinet.store.schema import operator_acts

OPEN: Final = "open body"
DESTROY: Final = "destroy key"
_PROPOSALS: Final = {OPEN: "to open body", DESTROY: "to destroy key"}


def question_name(request: OpenBodyRequest) -> str:
    """What the body of a question is called in the acts: 64 hexadecimal digits."""
    return hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()


def act(connection: Connection, kind: str, key: str, *, operator: str, now_us: int) -> tuple[str, bool]:
    """Proposes an act, or puts on record that the second operator carries it out.

    Args:
        connection: of the register's writer.
        kind: OPEN or DESTROY.
        key: which one.
        operator: SPIFFE ID of the caller.
        now_us: microseconds since 1970.

    Returns: who proposed it, and whether it is to be carried out now.
    Raises Refused: SECOND_OPERATOR_NEEDED.
    """
    proposal = _PROPOSALS[kind]
    last = connection.execute(
        select(operator_acts.c.act, operator_acts.c.operator)
        .where(operator_acts.c.edition == key, operator_acts.c.act.in_((kind, proposal)))
        .order_by(operator_acts.c.id.desc())
        .limit(1)
    ).one_or_none()
    proposed = last is not None and last.act == proposal
    if last is not None and proposed and last.operator == operator:
        raise Refused(errors.ERROR_REASON_SECOND_OPERATOR_NEEDED)
    note_about(connection, kind if proposed else proposal, key, operator=operator, now_us=now_us)
    return (last.operator if last is not None and proposed else operator), proposed


def destroyed(connection: Connection) -> list[tuple[str, int]]:
    """All keys that two operators destroyed, each with when in microseconds since 1970."""
    rows = connection.execute(
        select(operator_acts.c.edition, operator_acts.c.acted_at).where(operator_acts.c.act == DESTROY)
    )
    return [(key, acted_at) for key, acted_at in rows]
