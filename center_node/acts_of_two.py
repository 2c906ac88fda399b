"""What two operators do at the center, with keys of bodies or about a gateway that is gone: rows of `operator_acts` in
the register, never changed.

What is acted on is named in the column `edition`: a key by a month, a person's name, or the digest of a question whose
body is opened; a gateway by its name. A proposal stands until it is carried out; the next time takes a new one.

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
FORGET: Final = "forget frozen"
_PROPOSALS: Final = {OPEN: "to open body", DESTROY: "to destroy key", FORGET: "to forget frozen"}


def question_name(request: OpenBodyRequest) -> str:
    """What the body of a question is called in the acts: 64 hexadecimal digits."""
    return hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()


def act(connection: Connection, kind: str, name: str, *, operator: str, now_us: int) -> tuple[str, bool]:
    """Proposes an act, or puts on record that the second operator carries it out.

    Args:
        connection: of the register's writer.
        kind: OPEN, DESTROY or FORGET.
        name: what is acted on.
        operator: SPIFFE ID of the caller.
        now_us: microseconds since 1970.

    Returns: who proposed it, and whether it is to be carried out now.
    Raises Refused: SECOND_OPERATOR_NEEDED.
    """
    proposed_by = proposer(connection, kind, name)
    if proposed_by == operator:
        raise Refused(errors.ERROR_REASON_SECOND_OPERATOR_NEEDED)
    note_about(connection, kind if proposed_by else _PROPOSALS[kind], name, operator=operator, now_us=now_us)
    return proposed_by or operator, bool(proposed_by)


def proposer(connection: Connection, kind: str, name: str) -> str:
    """SPIFFE ID of the operator whose proposal of an act stands; empty where none does."""
    last = connection.execute(
        select(operator_acts.c.act, operator_acts.c.operator)
        .where(operator_acts.c.edition == name, operator_acts.c.act.in_((kind, _PROPOSALS[kind])))
        .order_by(operator_acts.c.id.desc())
        .limit(1)
    ).one_or_none()
    return last.operator if last is not None and last.act == _PROPOSALS[kind] else ""


def destroyed(connection: Connection) -> list[tuple[str, int]]:
    """All keys that two operators destroyed, each with when in microseconds since 1970."""
    rows = connection.execute(
        select(operator_acts.c.edition, operator_acts.c.acted_at).where(operator_acts.c.act == DESTROY)
    )
    return [(key, acted_at) for key, acted_at in rows]
