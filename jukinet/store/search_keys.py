"""Search keys of the register's rows, and which version of the folding made them.

Rule 1: all keys of a register are of one version, and a node answers only when that is the program's own. A name that
one version folded is not found among the keys of another: somebody would be told not to exist.
Rule 2: keys are made from the stored `Resident` alone and never change it; they can be made anew at any time.
Rule 3: while they are made anew the register says so. A node that dies half-way leaves nothing that looks whole.
"""

import logging
import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, RowMapping, bindparam, select, update
from sqlalchemy.exc import StatementError

from jukinet._pb.jukinet.register.v1.identity_pb2 import Resident
from jukinet.domain.person_name import SEARCH_KEY_VERSION
from jukinet.store.errors import without_values
from jukinet.store.rows import keys_of
from jukinet.store.schema import residents, search_keys
from jukinet.store.statement import keep

log = logging.getLogger(__name__)

_ROWS = 1000  # of one transaction
_IN_MAKING = 0  # no folding has this version


def renew_keys(engine: Engine) -> None:
    """Makes all keys of a register anew if another version made them, and says so in the log.

    To be called before the node answers. It takes many short transactions; cut off, it begins again at the next start.

    Args:
        engine: of `open_writer`, with the schema of this program.

    Raises:
        StoreError: the database failed.
    """
    try:
        with engine.connect() as connection:
            found = connection.execute(select(search_keys.c.version)).scalar_one_or_none()
        if found != SEARCH_KEY_VERSION:
            _say(engine, _IN_MAKING)
            _renew_all(engine, found or _IN_MAKING)
            _say(engine, SEARCH_KEY_VERSION)
        return
    except StatementError as error:
        failure = without_values(error)
    raise failure


def _say(engine: Engine, version: int) -> None:
    with engine.begin() as connection:
        _KEEP_VERSION.write(connection, [{"id": 1, "version": version}])


def _renew_all(engine: Engine, found: int) -> None:
    started = time.monotonic()
    count, last = 0, ""
    while True:
        with engine.begin() as connection:
            rows = connection.execute(_NEXT, {"after": last}).mappings().all()
            wrong = [changed for row in rows if (changed := _renewed(row))]
            if wrong:
                connection.execute(_CORRECT, wrong)
        if not rows:
            break
        if not count:
            log.warning("the search keys are of another version and are made anew", extra={"version": found})
        count, last = count + len(rows), rows[-1]["resident_code"]
    if count:
        extra = {"version": SEARCH_KEY_VERSION, "count": count, "seconds": round(time.monotonic() - started, 1)}
        log.info("the search keys are of this version", extra=extra)


def _renewed(row: RowMapping) -> Mapping[str, Any] | None:
    """What to write to a row; None where its keys are right as they are."""
    keys = keys_of(Resident.FromString(row["resident"]).record)
    return {"code": row["resident_code"], **keys} if any(row[name] != key for name, key in keys.items()) else None


_KEEP_VERSION = keep(search_keys, "id")
_NEXT = (
    select(residents)
    .where(residents.c.resident_code > bindparam("after"))
    .order_by(residents.c.resident_code)
    .limit(_ROWS)
)
_CORRECT = update(residents).where(residents.c.resident_code == bindparam("code"))
