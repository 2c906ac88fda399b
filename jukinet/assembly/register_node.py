"""The part that CS, prefecture and center share: a register on disk, a link below, a link above.

They hold the same register with the same rules; they differ in whose residents they see (`scope`) and in which of the
two links they have.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial

from sqlalchemy import Engine

from jukinet._pb.jukinet.admin.v1.admin_pb2 import GetStatusResponse
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet._pb.jukinet.link.v1.link_pb2 import Credit
from jukinet.assembly.consistency import ConsistencyService
from jukinet.assembly.process import Part, needed
from jukinet.assembly.register_scrub import Scrub
from jukinet.assembly.status import Acts, AdminService, readable
from jukinet.assembly.upkeep import prune_hourly, take_up
from jukinet.domain.brake import Brake
from jukinet.link.apply_batch import Assembly, Taken, read_again
from jukinet.link.bring import Snapshots
from jukinet.link.reapply import Reapplied, reapply_below, reapply_own
from jukinet.link.restore import Restore
from jukinet.link.service import LinkService
from jukinet.link.snapshot_service import SnapshotService
from jukinet.link.uplink import LinkStopped, Uplink
from jukinet.mesh import metrics
from jukinet.mesh.client import open_channel
from jukinet.mesh.clock import now_us
from jukinet.mesh.config import NodeConfig
from jukinet.mesh.errors import Refused, name_of
from jukinet.mesh.identity import Identity, parse_identity, upstream_of
from jukinet.mesh.pki import load_public_keys, load_signing_key
from jukinet.store.boot import Boot, MarkerFile, marker_path, write_boot_id
from jukinet.store.brakes import log_hold
from jukinet.store.engine import disk_space, open_reader, open_writer
from jukinet.store.migrate import REGISTER, ensure_schema
from jukinet.store.search_keys import renew_keys
from jukinet.store.writer import Writer

log = logging.getLogger(__name__)

_METRICS_SECONDS = 5.0
_ROOM_SECONDS = 0.5  # a disk fills slower than that, with 64 MiB kept in reserve
_NOT_SHARED = frozenset(
    {errors.ERROR_REASON_LINK_FENCED, errors.ERROR_REASON_LINK_FORK, errors.ERROR_REASON_LINK_NOT_KEPT}
)
"""Reasons of a stopped link after which another accepted change would only deepen a fork."""


class RegisterNode:
    """A register and its links, opened by a node's config.

    Raises StoreBusy, SchemaMismatch, StoreError when the database cannot be used.
    """

    def __init__(self, config: NodeConfig) -> None:
        self._config = config
        self._engine: Engine = open_writer(config.database)
        ensure_schema(self._engine, REGISTER)
        renew_keys(self._engine)
        self.reader: Engine = open_reader(config.database)
        self.writer = Writer(self._engine, on_commit=metrics.commit)
        self._scrub = Scrub(self.reader)
        # The center has nobody above who could tell it what it lost: its senders send again from its marks.
        self.boot = _begin(config, self._engine) if config.upstream else None
        self.uplink = self._make_uplink(self.boot) if self.boot else None
        self.link_service: LinkService | None = None
        self.snapshot_service: SnapshotService | None = None
        self._scope = config.name
        self._stopped_for: ErrorReason.ValueType | None = None
        self._room, self._look_again = True, 0.0
        self._released = asyncio.Event()
        self._released.set()  # the last process may have ended in the middle of a release

    def receive(self, scope: str) -> LinkService:
        """Opens the link below: changes of the municipalities whose codes begin with `scope`."""
        # An upgrade may have taught this node to read what it had to park.
        self.writer.submit(lambda connection: read_again(connection, scope=scope, now_us=now_us())).result()
        self._scope = scope
        self.link_service = LinkService(
            writer=self.writer,
            reader=self.reader,
            assembly=_assembly(self._config, scope),
            may_bring=may_bring,
            why_not=self._why_not_settled,
            credit=Credit(batches=self._config.limits.credit_batches, bytes=self._config.limits.credit_bytes),
            on_forwarded=self.outbox_grew,
            on_applied=_count,
            on_standing=lambda: self.uplink.beat_soon() if self.uplink else None,
        )
        return self.link_service

    def take_snapshots(self, scope: str) -> SnapshotService:
        """Takes what the link below cannot bring; `scope` is that of `receive`."""
        self.snapshot_service = SnapshotService(
            writer=self.writer,
            assembly=_assembly(self._config, scope),
            may_bring=may_bring,
            why_not=self._why_not_settled,
            held_above=self._held_above,
        )
        return self.snapshot_service

    def outbox_grew(self, last_sequence: int) -> None:
        """Tells the link above that the outbox holds committed changes up to this sequence number."""
        if self.uplink:
            self.uplink.outbox_grew(last_sequence)

    def why_not_take(self) -> "ErrorReason.ValueType | None":
        """Why no new change may be taken in now; None when it may.

        A CS must not accept what it cannot keep, nor go on with a history that its receiver does not share.
        """
        if self._stopped_for in _NOT_SHARED:
            return self._stopped_for
        return self._why_not_settled() or (None if self._has_room() else errors.ERROR_REASON_STORAGE_FULL)

    def _why_not_settled(self) -> "ErrorReason.ValueType | None":
        return errors.ERROR_REASON_RESTORING if self.boot and self.boot.restored else None

    def _has_room(self) -> bool:
        if time.monotonic() >= self._look_again:
            self._room, self._look_again = self._look_for_room(), time.monotonic() + _ROOM_SECONDS
        return self._room

    def _look_for_room(self) -> bool:
        space = disk_space(self._config.database)
        if space is None:
            return True
        free, total = space
        limits = self._config.limits
        return free >= max(limits.disk_free_bytes, total * limits.disk_free_percent / 100)

    async def readable(self) -> bool:
        """Whether the register answers; for health checks."""
        return await readable(self.reader)

    async def receives(self) -> bool:
        """Whether streams from below are taken up; for health checks."""
        return self._why_not_settled() is None and await self.readable()

    def parts(self) -> list[Part]:
        """What runs beside the server."""
        parts: list[Part] = [
            self.writer.watch,
            self._show_metrics,
            lambda: take_up(self.writer, self._released, scope=self._scope),
            lambda: prune_hourly(self.writer, is_center=self._config.upstream is None),
            self._scrub.run,
            self._scrub.watch,
        ]
        parts += [self._run_uplink] if self.uplink else []
        return parts + ([self.snapshot_service.run] if self.snapshot_service else [])

    def admin(self, describe: Callable[[GetStatusResponse], None] = lambda _: None) -> AdminService:
        """The operator's view; `describe(status)` adds what this node has beside its register and its links."""

        def both(status: GetStatusResponse) -> None:
            self._describe(status)
            describe(status)

        return AdminService(
            identity=self._config.identity,
            register=self.reader,
            describe=both,
            acts=Acts(self.writer, self._scope, on_release=self._released.set),
            waiting_alarm_hours=self._config.limits.waiting_alarm_hours,
        )

    def consistency(self) -> ConsistencyService:
        """What operators compare the tiers by."""
        return ConsistencyService(self.reader, damaged=self._scrub.look_again)

    async def end_streams(self) -> None:
        """Ends the streams from below, so that a stopping node does not wait for them."""
        if self.link_service:
            await self.link_service.end_streams()

    def close(self) -> None:
        """Finishes what was handed in and closes the database."""
        self.writer.close()
        self.reader.dispose()
        self._engine.dispose()

    def _make_uplink(self, boot: Boot) -> Uplink:
        above = upstream_of(self._config.identity)
        return Uplink(
            writer=self.writer,
            reader=self.reader,
            # No interceptors: a stream's changes bring their own trace contexts, and gRPC carries an intercepted
            # stream on tasks of its own, which it leaves pending when the connection breaks.
            open_channel=lambda: open_channel(
                needed(self._config.upstream), self._config.tls, server=above, limits=self._config.limits
            ),
            restore=Restore(
                writer=self.writer, boot=boot, reapply=_reapplied(self._config), on_doubt=self._end_streams_restoring
            ),
            snapshots=self._snapshots(),
            others_alone=self._config.role == "prefecture",
            standings=lambda: self.link_service.standings.told() if self.link_service else [],
            on_center_marks=self._center_marks_moved,
        )

    def _snapshots(self) -> Snapshots:
        config, cs = self._config, self._config.role == "municipality"
        return Snapshots(
            reader=self.reader,
            own=config.identity,
            key=load_signing_key(needed(config.sealing.key)) if cs else None,
            key_of=(lambda _: None) if cs else load_public_keys(needed(config.sealing.public_keys)).get,
            ask=lambda municipalities: self.link_service.ask_manifests(municipalities) if self.link_service else None,
        )

    async def _held_above(self, municipality: str, through: int) -> bool:
        return self.uplink is None or await self.uplink.held_above(municipality, through)

    async def _end_streams_restoring(self) -> None:
        if self.link_service:
            await self.link_service.end_streams(errors.ERROR_REASON_RESTORING)

    def _center_marks_moved(self, by_source: dict[str, int]) -> None:
        if self.link_service:
            self.link_service.center_marks_moved(by_source)

    async def _show_metrics(self) -> None:
        """Shows lag, connection and parked changes, every five seconds."""
        while True:
            try:
                self._show(await self.admin().standing())
            except Refused as refused:
                log.warning("how the node stands could not be read", extra={"reason": name_of(refused.reason)})
            await asyncio.sleep(_METRICS_SECONDS)

    def _show(self, status: GetStatusResponse) -> None:
        metrics.parked(status.parked)
        metrics.held(len(status.held))
        metrics.damaged(status.register_scrub.damaged_records, status.register_scrub.damaged_changes)
        since = status.oldest_waiting_at.ToMicroseconds()
        metrics.waiting((now_us() - since) / 1e6 if since else 0.0, status.waiting_too_long)
        for link in status.links:
            peer = parse_identity(link.peer)
            metrics.link_connected(peer, link.connected)
            metrics.link_slow(peer, link.slow)
            if link.slow:
                log.warning("a neighbour owes an answer", extra={"peer": link.peer})
            if link.outgoing:
                metrics.link_lag(peer, link.last_sequence - link.mark)

    async def _run_uplink(self) -> None:
        assert self.uplink is not None  # noqa: S101  # parts() asked
        try:
            await self.uplink.run()
        except LinkStopped as stopped:
            self._stopped_for = stopped.reason
            log.critical("the link above needs an operator", extra={"reason": name_of(stopped.reason)})
            await asyncio.Event().wait()

    def _describe(self, status: GetStatusResponse) -> None:
        self._scrub.describe(status)
        for link in status.links:
            if link.outgoing and self.uplink:
                link.connected = self.uplink.state.connected
                link.slow = self.uplink.state.owed.is_slow(time.monotonic())
                link.last_error = self.uplink.state.last_error or self._why_not_settled() or link.last_error
                link.mark = max(link.mark, self.uplink.state.neighbour_mark)
                link.center_mark = max(link.center_mark, self.uplink.state.center_mark)
            elif self.link_service:
                link.connected = link.peer in self.link_service.connected
                link.slow = self.link_service.connected.get(link.peer, False)


def _begin(config: NodeConfig, engine: Engine) -> Boot:
    """Finds out whether this database is the one with which the node last ran."""
    boot = Boot(MarkerFile(marker_path(config.database, config.folder, f"{config.role}-{config.name}")))
    with engine.begin() as connection:
        boot_id = boot.begin(connection)
        if boot_id:
            write_boot_id(connection, boot_id)
    if boot_id:
        boot.settled()
    else:
        log.warning("takes nothing before the node above has told what it holds of this node")
    return boot


def _assembly(config: NodeConfig, scope: str) -> Assembly:
    keys = load_public_keys(needed(config.sealing.public_keys))
    limits = config.limits
    brake = Brake(percent=limits.brake_percent, deletions=limits.brake_deletions, floor=limits.brake_floor)
    return Assembly(scope=scope, forwards=config.upstream is not None, key_of=keys.get, brake=brake)


def _reapplied(config: NodeConfig) -> Reapplied:
    if config.role == "municipality":
        key = load_signing_key(needed(config.sealing.key)).public_key()
        return partial(reapply_own, municipality=config.name, key=key)
    return partial(reapply_below, assembly=_assembly(config, config.name[:2]))


def may_bring(sender: Identity, municipality: str) -> bool:
    """Whose changes a sender may bring: a CS its own, a prefecture those of its municipalities."""
    if sender.kind == "municipality":
        return sender.name == municipality
    return sender.kind == "prefecture" and sender.name[:2] == municipality[:2]


def _count(taken: Taken) -> None:
    metrics.batch(len(taken.outcomes))
    for outcome in taken.outcomes:
        metrics.change_received(outcome)
    for municipality in taken.newly_held:
        log_hold(municipality, taken.held[municipality])
