"""What travels between a node and the process that writes for it (`jukinet.store.writer_process`): jobs, and what
became of them.

All of it travels pickled, over a pair of sockets that nobody else has: both ends are one program of one user.
"""

import io
import pickle
import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from google.protobuf import descriptor_pool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from sqlalchemy import Connection, Engine

HEAD: Final = struct.Struct(">I")
"""Length in bytes of what follows."""
OPENED: Final = -1
"""In the place of a job's number: the database is open, or cannot be opened."""
BROKEN: Final = -2
"""The disk failed, and nothing more is written."""


class Start(NamedTuple):
    """What the process begins with."""

    open_engine: Callable[[], Engine]
    node: str
    """SPIFFE ID for the log; empty = the process logs nothing below a warning."""
    armed: tuple[str | None, int, int]
    """The failpoint of the node, of `jukinet.mesh.failpoints.armed`."""
    garbage: tuple[int, int, int]
    """How many new objects make the node search for garbage, of `gc.get_threshold`."""


class Job(NamedTuple):
    """To be run in a transaction."""

    number: int
    run: Callable[[Connection], Any]


class Outcome(NamedTuple):
    """What became of a job."""

    number: int
    value: Any
    error: BaseException | None = None


class Told(NamedTuple):
    """What the process tells at once: what became of jobs, and of the commit that they shared."""

    outcomes: list[Outcome]
    jobs: int = 0
    seconds: float = 0.0


def packed(sent: Start | Job | Told) -> bytes:
    """What goes over the socket. Raises PicklingError, AttributeError or TypeError for what cannot travel."""
    buffer = io.BytesIO()
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(sent)
    return HEAD.pack(buffer.tell()) + buffer.getvalue()


def unpacked(raw: bytes) -> Any:
    """What was sent, without its head."""
    return pickle.loads(raw)  # noqa: S301  # from the other end, which is our own


class _Pickler(pickle.Pickler):
    """Lets exceptions and messages of the contract travel.

    An exception goes without its traceback and its causes, and is made again without its constructor. The class of a
    message is known by the name that the contract gives it, which is no place that Python could import it from.
    """

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Message):
            return _parsed, (obj.DESCRIPTOR.full_name, obj.SerializeToString())
        if isinstance(obj, BaseException):
            return _made_again, (type(obj), obj.args, dict(vars(obj)))
        return NotImplemented


def _parsed(name: str, raw: bytes) -> Message:
    parsed: Message = GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name)).FromString(raw)
    return parsed


def _made_again(kind: type[BaseException], arguments: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    error = kind.__new__(kind, *arguments)
    vars(error).update(state)
    return error
