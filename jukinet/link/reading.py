"""What stands in a sealed segment, read so that no municipality's mistake can stop its stream.

Rule: an authentic change is never dropped and never holds up others. One that this node cannot read (not a message, a
broken rule of the contract, a reason of a newer version) is parked as its sealed bytes, under no resident: nothing in
it can be trusted to name one. Its version keeps the resident's later changes waiting, so the order per resident
holds, and no release can apply it by accident. `apply_batch.read_again` takes up what a newer version has learned to
read.

Source: reliability protocol, poison and schema evolution.
"""

from collections.abc import Iterator

from google.protobuf.message import DecodeError

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet._pb.jukinet.link.v1.link_pb2 import Segment
from jukinet._pb.jukinet.register.v1.change_pb2 import Change, ChangeReason
from jukinet.domain.arrival import Arrival
from jukinet.mesh.errors import Refused, check_message

Read = tuple[Arrival, "ErrorReason.ValueType | None"]
"""An arrival, and why it cannot be read; its change is empty then."""
_REASONS = frozenset(ChangeReason.values())


def read_changes(segment: Segment) -> Iterator[Read]:
    """Reads each change of a segment that was taken, in order."""
    for offset, payload in enumerate(segment.changes):
        yield read_change(segment.municipality, segment.epoch, segment.first_sequence + offset, payload)


def read_change(municipality: str, epoch: int, sequence: int, payload: bytes) -> Read:
    """Reads one serialised change of a municipality's stream."""
    try:
        change = Change.FromString(payload)
        fault = _fault(change)
    except DecodeError:
        fault = errors.ERROR_REASON_INVALID_MESSAGE
        change = Change()
    return Arrival(municipality, epoch, sequence, Change() if fault else change, payload), fault


def _fault(change: Change) -> "ErrorReason.ValueType | None":
    if change.reason not in _REASONS:
        return errors.ERROR_REASON_CHANGE_UNKNOWN_TYPE
    try:
        check_message(change)
    except Refused as refused:
        return refused.reason
    return None
