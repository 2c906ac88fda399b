"""The demo's traces: nodes send them to the project's own console, which shows them as trees and as a page."""

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from rich.console import Console

from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission
from jukinet.cli.demo_claims import Claims
from jukinet.mesh import tracing
from jukinet.traces.console import Addresses, console
from jukinet.traces.store import SpanStore
from jukinet.traces.tree import Node, Shape, render, shape, tree, walk

_ONE_IN: Final = 10
_ARRIVE_SECONDS: Final = 15.0

_SUBMIT: Final = "jukinet.intake.v1.IntakeService/SubmitChange"
_INQUIRE: Final = "jukinet.inquiry.v1.InquiryService/Inquire"

NOTIFICATION: Final[Shape] = [
    (0, "client", _SUBMIT),
    (1, "municipality", _SUBMIT),
    (2, "municipality", "register.apply"),
    (3, "prefecture", "link.receive"),
    (4, "center", "link.receive"),
]
"""The trace of one notification, parent by parent."""

_TOLD: Final = frozenset({"register.apply", "link.receive"})
"""Spans that say what became of a change at their node."""

INQUIRY: Final[Shape] = [
    (0, "client", _INQUIRE),
    (1, "gateway", _INQUIRE),
    (2, "gateway", "inquiry.decide"),
    (2, "gateway", "inquiry.provide"),
    (3, "center", "provision.decide"),
    (3, "center", "provision.look_up"),
    (2, "gateway", "ledger.append"),
]
"""The trace of one inquiry, parent by parent."""

BANNED: Final[Shape] = [
    (0, "client", _INQUIRE),
    (1, "gateway", _INQUIRE),
    (2, "gateway", "inquiry.decide"),
    (2, "gateway", "ledger.append"),
]
"""The trace of a private organisation's attempt: decided, put on record, and nobody looked up."""


class Traces:
    """The trace console of one demo; as an async context manager it ends with it."""

    def __init__(self, folder: Path) -> None:
        self._database = folder / "spans.db"
        self._stack = AsyncExitStack()
        self._random = random.Random(1)  # noqa: S311  # trace ids, not secrets
        self.addresses = Addresses("", "")

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._database.parent.mkdir, parents=True, exist_ok=True)
        self.addresses = await self._stack.enter_async_context(console(self._database, "127.0.0.1:0", "127.0.0.1:0"))
        tracing.configure("client", "demo", endpoint=self.addresses.otlp)
        self._stack.callback(tracing.shutdown)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def environ(self) -> dict[str, str]:
        """What makes a node send its spans here."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.addresses.otlp, "OTEL_EXPORTER_OTLP_INSECURE": "true"}

    def context_for(self, _submission: Submission) -> str:
        """A trace context for one change in ten; the others are not traced."""
        if self._random.randrange(_ONE_IN):
            return ""
        return f"00-{self._random.getrandbits(128):032x}-{self._random.getrandbits(64):016x}-01"

    async def show(self, claims: Claims, output: Console) -> None:
        """Claims the exact shape of a notification's, an inquiry's and a banned attempt's trace, and prints them.

        The notification's says too that every node applied the change.
        """
        output.rule("[bold]6. Traces")
        for text, first, expected in (
            ("one trace runs from the municipal system's call to the center's commit", _SUBMIT, NOTIFICATION),
            ("one trace runs from the agency's call through decision, look-up and ledger", _INQUIRE, INQUIRY),
            ("the bank's trace holds a decision and a ledger entry, and no look-up", _INQUIRE, BANNED),
        ):
            roots = await self._find(first, expected)
            if roots:
                output.print(render(roots), highlight=False, markup=False)
            processes = len({node.span.process for _, node in walk(roots)})
            claims.make(text, bool(roots), f"{len(expected)} spans in {processes} processes")

    async def _find(self, name: str, expected: Shape) -> list[Node]:
        """Waits for a trace of this shape; spans arrive up to a second after they ended."""
        deadline = asyncio.get_running_loop().time() + _ARRIVE_SECONDS
        with SpanStore(self._database) as store:
            while asyncio.get_running_loop().time() < deadline:
                for summary in store.latest(search=name, limit=20):
                    roots = tree(store, summary.trace_id)
                    if shape(roots) == expected and _all_applied(roots):
                        return roots
                await asyncio.sleep(0.1)
        return []


def _all_applied(roots: list[Node]) -> bool:
    told = [node.span for _, node in walk(roots) if node.span.name in _TOLD]
    return all(span.attributes.get("jukinet.outcome") == "applied" for span in told)
