"""A node that does not hold all that it ever sent, on its way back: what its uplink does for it on disk.

Rule: while it lasts the node takes no change and no stream, for it would give numbers away that its neighbour holds.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from sqlalchemy import Connection

from jukinet._pb.jukinet.link.v1.link_pb2 import Batch
from jukinet.link.outputs import Adopt, BeginAnew, Complete, Reapply
from jukinet.link.reapply import Reapplied
from jukinet.mesh.clock import now_us
from jukinet.store import journal
from jukinet.store.boot import Boot, write_boot_id
from jukinet.store.outbox_start import begin_outbox
from jukinet.store.writer import Writer

log = logging.getLogger(__name__)


class Restore:
    """Where one node stands.

    `reapply` puts a batch back; `on_doubt` ends what may not go on.
    """

    def __init__(
        self,
        *,
        writer: Writer,
        boot: Boot,
        reapply: Reapplied,
        on_doubt: Callable[[], Awaitable[None]],
    ) -> None:
        self._writer = writer
        self._boot = boot
        self._reapply = reapply
        self._on_doubt = on_doubt

    @property
    def restored(self) -> bool:
        """Whether the node still has to learn what it lost."""
        return self._boot.restored

    async def doubt(self) -> None:
        """The neighbour holds more than this node: nothing more is taken, and what was handed in is waited for."""
        log.warning("this node lost changes and takes them back from the node above")
        await asyncio.to_thread(self._boot.doubt)
        await self._on_doubt()
        await self._writer.run(lambda _: None)

    async def carry_out(self, step: Adopt | Reapply | BeginAnew | Complete) -> None:
        """Carries out what the sender asks for. Raises Refused: LINK_FORK."""
        match step:
            case Adopt(epoch):
                await self.adopt(epoch)
            case Reapply(batch):
                await self.put_back(batch)
            case BeginAnew(mark, chain):
                await self.begin_anew(mark, chain)
            case Complete():
                await self.complete()

    async def adopt(self, epoch: int) -> None:
        """Keeps the epoch that the neighbour gave."""
        await self._writer.run(lambda connection: adopt(connection, epoch))

    async def put_back(self, batch: Batch) -> None:
        """Puts one batch back. Raises Refused: LINK_FORK, where it does not continue what is here."""
        await self._writer.run(lambda connection: self._reapply(connection, batch, now_us()))

    async def begin_anew(self, mark: int, chain: bytes) -> None:
        """Begins the own stream after this change, for the nodes below bring again what came before."""
        log.warning("the node above does not keep what this node lost; it comes from the nodes below")
        await self._writer.run(lambda connection: _begin_anew(connection, mark, chain))

    async def complete(self) -> None:
        """The node holds all that its neighbour holds of it."""
        stream = await self._writer.run(journal.read_stream)
        boot_id = await asyncio.to_thread(self._boot.renew, "", stream.neighbour_mark)
        await self._writer.run(lambda connection: write_boot_id(connection, boot_id))
        await asyncio.to_thread(self._boot.settled)
        log.info("this node holds all that the node above holds of it", extra={"sequence": stream.last_sequence})

    async def acknowledged(self, mark: int) -> None:
        """The neighbour has the changes up to the mark on disk."""
        try:
            await asyncio.to_thread(self._boot.acknowledged, mark)
        except OSError as failure:
            log.warning("the boot marker could not be written", extra={"error_type": type(failure).__name__})


def adopt(connection: Connection, epoch: int) -> None:
    """Makes the epoch that of the node's own stream, in the caller's transaction."""
    journal.write_stream(connection, replace(journal.read_stream(connection), epoch=epoch))


def _begin_anew(connection: Connection, mark: int, chain: bytes) -> None:
    own = journal.read_stream(connection)
    journal.write_stream(connection, journal.Stream(own.epoch, mark, chain, mark, mark, now_us()))
    begin_outbox(connection, mark, chain)
