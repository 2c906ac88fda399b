"""Named places in the program at which a test ends the process, as a power cut would.

Rule 1: off unless a test armed it. The environment names a place, how often it is passed before, and the process id of
the parent that wants it. A value that was left in a shell or copied into a unit file names a parent that is not there,
and such a process does not start at all.
Rule 2: off, a place costs one comparison.
Rule 3: every place stands in `PLACES` and once in the sources; `arm` knows no other.
"""

import os
import signal
from collections.abc import Mapping, MutableMapping
from typing import Final, NoReturn

from jukinet.mesh.config import ConfigError

VARIABLE: Final = "JUKINET_FAILPOINT"
"""`PLACE:N:PARENT`: SIGKILL at the N-th passing, wanted by the process PARENT."""

PLACES: Final[Mapping[str, str]] = {
    "intake.handed_in": "a group of submissions is on its way to the writer",
    "intake.judged": "every submission of the group is decided, nothing is written",
    "intake.registered": "rows and history are written, the segment is not",
    "intake.queued": "the segment is in the outbox, the message ids are not kept",
    "intake.kept": "all is written, the transaction is open",
    "intake.committed": "the commit is known to the intake, nobody else knows",
    "intake.told": "the link knows, the municipal system does not",
    "writer.begun": "a transaction is open, no job ran",
    "writer.before_commit": "every job of the transaction ran",
    "writer.after_commit": "the commit is on disk, nobody was told",
    "writer.told": "who waited for the commit was told",
    "writer.tended": "the write-ahead log was looked after",
    "apply.begun": "a batch is to be placed",
    "apply.placed": "sequence, chains and seals hold, nothing is written",
    "apply.settled": "rows, history and parked changes are written, the marks are not",
    "apply.origins": "the municipalities' origins are written, the sender's mark is not",
    "apply.marked": "the mark is written, nothing is forwarded",
    "apply.forwarded": "the segments are in the outbox, the transaction is open",
    "link.hello": "a sender greeted, nothing is kept of it",
    "link.registered": "its epoch is on disk, it was not welcomed",
    "link.welcomed": "it was welcomed",
    "link.batch": "a batch was read, the writer does not have it",
    "link.committed": "a batch is on disk, its session does not know",
    "link.noted": "the session knows, the link above was not told",
    "link.before_ack": "an acknowledgement is due",
    "link.after_ack": "an acknowledgement was handed to gRPC",
    "uplink.dialled": "a stream begins, nothing was said",
    "uplink.welcomed": "the receiver told its mark",
    "uplink.fetched": "segments were read from the outbox",
    "uplink.sent": "a message was handed to gRPC",
    "uplink.acked": "an acknowledgement was read, nothing is kept of it",
    "uplink.noted": "the neighbours' marks are on disk",
    "snapshot.offered": "an offer is on disk, its sender was not answered",
    "snapshot.applied": "rows and history of a chunk are written, the transaction is open",
    "snapshot.taken": "a chunk is on disk, its sender was not answered",
    "snapshot.installed": "a snapshot is in the register, its sender was not answered",
    "snapshot.resumed": "the mark after a snapshot is on disk, its sender was not answered",
    "snapshot.deposited": "a manifest is on disk, its sender was not answered",
    "bring.taken": "the receiver has a chunk on disk",
    "bring.installed": "the receiver has the snapshot in its register, the stream did not go on",
    "ledger.judged": "acts are carried out, nothing of the group's entries is written",
    "ledger.appended": "entries, checkpoint and what belongs to them are written, the transaction is open",
    "ledger.committed": "the entries are on disk, no answer left",
    "recall.known": "marks of corrections are on disk, no answer was looked for",
    "recall.noted": "recalls of all answers are on disk, how far the gateway is was not noted",
    "publish.cosigned": "a quorum of witnesses cosigned a checkpoint, nothing is kept of it",
    "publish.stored": "the published checkpoint is on disk, nobody was told",
    "witness.judged": "a checkpoint holds, the transaction is open",
    "witness.stored": "a checkpoint is on disk, nothing is signed",
}

_armed: str | None = None
_left = 0
_node: int | None = None
"""In a process that belongs to a node: the node's process id."""


def arm(environ: MutableMapping[str, str], *, parent: int) -> None:
    """Takes up what the environment asks for; without the variable, nothing.

    Args:
        environ: of this process; the variable is taken out, for it is no setting of a node.
        parent: process id of this process's parent.

    Raises:
        ConfigError: the variable is there, but not from this parent, or it names no place.
    """
    global _armed, _left  # one process, one place: that is the point of it
    wanted = environ.pop(VARIABLE, None)
    if wanted is None:
        return
    place, _, rest = wanted.partition(":")
    count, _, by = rest.partition(":")
    if by != str(parent):
        raise ConfigError(f"{VARIABLE} is for tests that start this process themselves; unset it")
    if place not in PLACES or not count.isdecimal() or int(count) < 1:
        raise ConfigError(f"{VARIABLE} names no place of jukinet.mesh.failpoints.PLACES and a count from 1 on")
    _armed, _left = place, int(count)


def armed() -> tuple[str | None, int, int]:
    """What a process that belongs to this one takes over: place, count, this process's id."""
    return _armed, _left, os.getpid()


def take_over(given: tuple[str | None, int, int]) -> None:
    """Arms what the node has armed, in a process that belongs to it: a power cut ends both."""
    global _armed, _left, _node  # as above
    _armed, _left, _node = given


def passing(place: str) -> None:
    """Ends the process by SIGKILL if a test armed this place and it was passed often enough."""
    if _armed is not None and place == _armed:
        _count()


def _count() -> None:
    global _left  # noqa: PLW0603  # as above
    _left -= 1
    if _left <= 0:
        _die()


def _die() -> NoReturn:
    if _node is not None:
        os.kill(_node, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL does not return")
