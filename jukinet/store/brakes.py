"""The change brake on disk: one row a municipality, moved in the transaction of the batch that it judges.

The rule itself is `jukinet.domain.brake`.
"""

import logging
import struct
from collections.abc import Mapping
from functools import partial

from sqlalchemy import Connection, bindparam, func, select

from jukinet._pb.jukinet.register.v1.identity_pb2 import ResidentStatus
from jukinet.domain.brake import SLOTS, Brake, Count, Tally, judge
from jukinet.store.schema import brakes, residents
from jukinet.store.statement import Prepared, keep

log = logging.getLogger(__name__)

_COUNTS = struct.Struct(f">{2 * SLOTS}I")


def brake_arrived(
    connection: Connection, arrived: Mapping[str, Count], *, brake: Brake, now_us: int
) -> dict[str, Tally]:
    """Counts what arrived, by municipality, and keeps it. Returns those of whom nothing may take effect now."""
    held: dict[str, Tally] = {}
    for municipality, counted in arrived.items():
        before = read_tally(connection, municipality)
        after = judge(
            before,
            counted,
            brake=brake,
            now_us=now_us,
            count_residents=partial(_active, connection, municipality),
        )
        if after is not before:
            keep_tally(connection, municipality, after)
        if after.held_at:
            held[municipality] = after
    return held


def read_tally(connection: Connection, municipality: str) -> Tally:
    """What is known of a municipality; an empty tally of one of which nothing was counted yet."""
    row = _TALLY_OF.row(connection, {"code": municipality})
    return _tally(*row[1:]) if row else _NOTHING_CAME


def keep_tally(connection: Connection, municipality: str, tally: Tally) -> None:
    """Keeps what is known of a municipality."""
    _KEEP.write(
        connection,
        [
            {
                "municipality": municipality,
                "slot": tally.slot,
                "counts": _COUNTS.pack(*tally.changes, *tally.deletions),
                "residents": tally.residents,
                "counted_at": tally.counted_at,
                "held_at": tally.held_at,
                "lifted_until": tally.lifted_until,
            }
        ],
    )


def is_held(connection: Connection, municipality: str) -> bool:
    """Whether two operators must release a municipality before more of it is taken."""
    return _IS_HELD.row(connection, {"code": municipality}) is not None


def read_held(connection: Connection) -> dict[str, Tally]:
    """The municipalities that are held."""
    return {code: _tally(*rest) for code, *rest in _HELD.rows(connection)}


def log_hold(municipality: str, tally: Tally) -> None:
    """Names a municipality whose hold has just come to disk, with counts only."""
    changes, deletions = tally.total
    log.error(
        "the change brake holds a municipality; look at it and release it by two operators",
        extra={
            "municipality": municipality,
            "changes": changes,
            "deletions": deletions,
            "residents": tally.residents,
        },
    )


def _active(connection: Connection, municipality: str) -> int:
    row = _ACTIVE_OF.row(connection, {"code": municipality})
    return int(row[0]) if row else 0


def _tally(slot: int, counts: bytes, *rest: int) -> Tally:
    numbers = _COUNTS.unpack(counts)
    return Tally(slot, numbers[:SLOTS], numbers[SLOTS:], *rest)


_NOTHING_CAME = Tally()
_KEEP = keep(brakes, "municipality")
_ALL = select(
    brakes.c.municipality,
    brakes.c.slot,
    brakes.c.counts,
    brakes.c.residents,
    brakes.c.counted_at,
    brakes.c.held_at,
    brakes.c.lifted_until,
)
_TALLY_OF = Prepared(_ALL.where(brakes.c.municipality == bindparam("code")))
_HELD = Prepared(_ALL.where(brakes.c.held_at > 0).order_by(brakes.c.municipality))
_IS_HELD = Prepared(select(brakes.c.held_at).where(brakes.c.municipality == bindparam("code"), brakes.c.held_at > 0))
_ACTIVE_OF = Prepared(
    select(func.count())
    .select_from(residents)
    .where(residents.c.holder == bindparam("code"), residents.c.status == ResidentStatus.RESIDENT_STATUS_ACTIVE)
)
