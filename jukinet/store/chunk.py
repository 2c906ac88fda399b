"""A chunk of a municipality's changes into the register, within the caller's transaction.

Rule 1: a chunk goes the way of any batch: each change in its order through the one `apply`, beside what is here of the
same residents, and what the rules refuse is parked. So a snapshot makes of the register what the stream would have
made, and nothing has to be judged anew when its last chunk is in.
Rule 2: where nothing here has a say in a resident code, what `apply` makes of a change needs nothing of this register.
It was made beforehand, in another process, and is only written.
Rule 3: what of a chunk is here already is the same change and is passed over, or the chunk is of another history and
nothing of it is taken.
"""

from collections.abc import Sequence

from sqlalchemy import Connection

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.register.v1.change_pb2 import Change
from jukinet.domain.arrival import Arrival
from jukinet.mesh.errors import Refused
from jukinet.store.checksum import RecordDamaged
from jukinet.store.register import Run
from jukinet.store.rows import ReadChange
from jukinet.store.sealed_changes import next_changes


def not_here(connection: Connection, municipality: str, changes: Sequence[ReadChange]) -> list[ReadChange]:
    """The changes of a chunk that are not here yet.

    Raises Refused: LINK_FORK where one that is here is another, RECORD_DAMAGED where it is not what was written.
    """
    first, last = changes[0].sequence, changes[-1].sequence
    try:
        found = next_changes(connection, municipality, epoch=0, after=first - 1, until=last, limit=len(changes) + 1)
    except RecordDamaged:
        raise Refused(errors.ERROR_REASON_RECORD_DAMAGED) from None
    here = {sequence: (epoch, change) for sequence, epoch, change in found}
    new = []
    for change in changes:
        known = here.get(change.sequence)
        if known is None:
            new.append(change)
        elif known != (change.epoch, change.payload):
            raise Refused(errors.ERROR_REASON_LINK_FORK)
    return new


def take_chunk(
    connection: Connection, municipality: str, changes: Sequence[ReadChange], *, scope: str, now_us: int
) -> None:
    """Takes in what of a chunk is not here yet. `scope` and `now_us` are those of `apply_arrivals`."""
    codes = [code for change in changes for code in (change.resident_code, change.previous_code) if code]
    run = Run(connection, codes)
    for change in changes:
        if change.row is not None and run.is_unseen(change.resident_code):
            code, version = change.resident_code, change.version
            run.enter(change.row, (code, version, municipality, change.epoch, change.sequence, change.payload))
            continue
        read = Change.FromString(change.payload) if change.fault is None else Change()
        arrival = Arrival(municipality, change.epoch, change.sequence, read, change.payload)
        if change.fault is None:
            run.settle(arrival, scope)
        else:
            run.park(arrival, change.fault)
    run.write(connection, now_us)
