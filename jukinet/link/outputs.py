"""What a sender asks of its adapter, to be carried out in order."""

from dataclasses import dataclass

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet._pb.jukinet.link.v1.link_pb2 import Batch, StreamRequest


@dataclass(frozen=True, slots=True)
class Send:
    """Write this message to the stream."""

    request: StreamRequest


@dataclass(frozen=True, slots=True)
class Fetch:
    """Read outbox segments after this sequence number, at most so many bytes, and give them to `fetched`."""

    after: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Adopt:
    """Keep this epoch on disk as that of the own stream, before anything else is carried out."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Pull:
    """Ask the receiver for these own changes, and give each batch to `pulled`, the end to `pull_ended`."""

    first_sequence: int
    last_sequence: int


@dataclass(frozen=True, slots=True)
class Reapply:
    """Put these own segments back: effect, outbox, chain and sequence, in one transaction."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class BeginAnew:
    """Begin the own stream after this change of it, with an empty outbox: nobody keeps what came before."""

    mark: int
    chain: bytes


@dataclass(frozen=True, slots=True)
class Complete:
    """A restored sender holds all that its receiver holds of it: it may take new changes again."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Everything up to these sequence numbers is on disk at the neighbour, and at the center."""

    neighbour_mark: int
    center_mark: int


@dataclass(frozen=True, slots=True)
class Stop:
    """End the stream."""

    reason: "ErrorReason.ValueType"


Output = Send | Fetch | Adopt | Pull | Reapply | BeginAnew | Complete | Progress | Stop

_FOR_PEOPLE = frozenset(
    {
        errors.ERROR_REASON_LINK_FENCED,
        errors.ERROR_REASON_LINK_FORK,
        errors.ERROR_REASON_LINK_NOT_KEPT,
        errors.ERROR_REASON_LINK_VERSION,
        errors.ERROR_REASON_LINK_SEAL,
        errors.ERROR_REASON_LINK_FOREIGN_SEGMENT,
    }
)


def for_people(reason: "ErrorReason.ValueType") -> bool:
    """Whether trying again is useless, or harmful, before people have looked."""
    return reason in _FOR_PEOPLE
