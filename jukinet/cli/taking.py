"""Taking into a file what a gateway tells by position: changes of a list (異動情報), recalls (旧値の回収).

Each request says what is on disk and asks for what comes next, so each line is there once, whoever is interrupted.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from jukinet.cli.connect import Target, channel_to, traced
from jukinet.cli.output import Exit, Failure
from jukinet.cli.source_check import now_us

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from jukinet.cli.batch_answers import BatchAnswers


class Taking:
    """One run.

    Args:
        kept: the file; a line's number is a position.
        request: makes the request that says what is on disk, out of the last line of the file.
        rpc: the call of a channel.
        field: which field of a response holds what is told.
        follow: whether to wait for more when there is none.
        require: raises Failure at a response that is not to be kept; hears when it was asked for, of `now_us`.
    """

    def __init__(
        self,
        kept: "BatchAnswers",
        request: "Callable[[Mapping[str, Any]], Message]",
        rpc: Callable[[Any], Any],
        field: str,
        follow: bool,
        *,
        require: Callable[[Any, int], None] = lambda _told, _asked_us: None,
    ) -> None:
        self._kept = kept
        self._request = request
        self._rpc = rpc
        self._field = field
        self._follow = follow
        self._require = require
        self.last: Any = None
        """The last response."""

    async def take(self, target: Target, seconds: float) -> int:
        """Takes what there is, or what comes until time is over; gives how many lines are new.

        Raises:
            Failure: refused for good, not to be kept, or no answer in time.
        """
        from jukinet.cli.retry import CallRefused, DeadlinePassed, fail_refused, keep_trying

        before = self._kept.answered
        with traced("agency") as interceptors:
            async with channel_to(target, interceptors) as channel:
                try:
                    await keep_trying(lambda left: self._attempt(channel, left), seconds, lambda: self._kept.answered)
                except CallRefused as refused:
                    fail_refused(refused, target.address)
                except DeadlinePassed as passed:
                    if not self._follow:
                        text = (
                            f"No answer from {target.address}: {passed}. What came is kept; the same command goes on."
                        )
                        raise Failure(text, Exit.UNREACHABLE) from None
        return self._kept.answered - before

    async def _attempt(self, channel: Any, seconds: float) -> None:
        from jukinet.mesh.client import streaming

        on_disk = asyncio.Semaphore(1)
        going_on, asked_us = True, 0

        async def requests() -> "AsyncIterator[Message]":
            nonlocal asked_us
            while True:
                await on_disk.acquire()
                if not going_on:
                    return
                asked_us = now_us()
                yield self._request(self._kept.last)

        call: Any = self._rpc(channel)(requests(), timeout=seconds)
        async with streaming(call):
            async for response in call:
                self._require(response, asked_us)
                self.last = response
                told = getattr(response, self._field)
                shown = [_as_dict(each) for each in told]
                if shown:
                    lines = [{"line": int(each.pop("position")), **each} for each in shown]
                    await asyncio.to_thread(self._kept.keep, lines)
                going_on = bool(shown) or self._follow
                on_disk.release()


def _as_dict(told: "Message") -> dict[str, Any]:
    """A message in the JSON of protobuf, but for numbers that are 0: here they stand for the first, and are written."""
    from google.protobuf.json_format import MessageToDict

    numbers = {field.name: "0" for field in told.DESCRIPTOR.fields if field.cpp_type == field.CPPTYPE_UINT64}
    return {**numbers, **MessageToDict(told, preserving_proto_field_name=True)}
