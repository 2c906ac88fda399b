"""Comparison of the tiers' registers (整合性確認), municipality by municipality, as the mesh's operator.

Rule 1: digests are compared only as of one place in the municipality's stream, the last that all of its tiers hold.
While a tier does not hold it (a node was restored), or holds nothing of the municipality that another tier
has changes of, nothing is said of the rows: that nobody holds a row as of no change proves nothing.
Rule 2: what differs is named and left alone. The municipality's own register says what should be; where nothing of it
ever came, nothing should be.
"""

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from jukinet.cli.connect import Target, channel_to, in_mesh
from jukinet.cli.layout import Mesh
from jukinet.cli.output import Failure, fail_call

if TYPE_CHECKING:
    from jukinet._pb.jukinet.consistency.v1.consistency_pb2 import GetDigestResponse, ListRowsRequest, Place, Row

DIGEST_SECONDS: Final = 600.0
"""Deadline of one call that reads all rows of a municipality; four million take a minute or two."""
_TRIES: Final = 5
_PAUSE_SECONDS: Final = 1.0
_DIGEST_BYTES: Final = 32

Position = tuple[int, int]
"""Epoch and sequence number in a municipality's stream."""


@dataclass(frozen=True)
class Drift:
    """One row that a node holds otherwise than the reference does."""

    municipality: str
    resident_code: str
    node: str
    reference: str
    kind: str
    """missing (at the node), added (at the node), version, or content."""
    version: int | None
    """At the node; None without a row."""
    reference_version: int | None
    misfiled: bool
    """At the node, or at the reference, the columns by which it is found are not those of the stored message."""
    damaged_at: tuple[str, ...]
    """Which of the two holds something else than what was written."""


@dataclass(frozen=True)
class Damage:
    """A row of a register that is not what was written, found when the node read its register again."""

    node: str
    kind: str
    """current, or change: of the history."""
    position: int | None
    """In that node's history: its own, or that of the change that made the current row; None = not to be found."""
    municipality: str | None
    """None, as the next one, where the row cannot be read."""
    resident_code: str | None


@dataclass
class Compared:
    """What came of one municipality."""

    municipality: str
    nodes: tuple[str, ...] = ()
    position: Position = (0, 0)
    state: str = "not comparable"
    """equal, drift, or not comparable."""
    why: str = ""
    """Why it is not comparable."""
    rows: int = 0
    parked: int = 0
    root: str = ""
    ahead: dict[str, int] = field(default_factory=dict)
    """Changes that a node held beyond the place, and that therefore were not compared."""
    drift: list[Drift] = field(default_factory=list)
    waiting: list[Drift] = field(default_factory=list)
    """Rows that differ because a change of the municipality is parked at a node: no drift, see `admin parked`."""
    seconds: float = 0.0


def new_key() -> bytes:
    """The key of one run."""
    return secrets.token_bytes(32)


def tiers_of(mesh: Mesh, municipality: str) -> tuple[str, ...]:
    """Names of the nodes that hold a municipality's rows, from its own outwards."""
    held = []
    for name in reversed(mesh.names):
        identity = mesh.config(name).identity
        own = identity.kind == "municipality" and identity.name == municipality
        above = identity.kind == "prefecture" and identity.name[:2] == municipality[:2]
        if own or above or identity.kind == "center":
            held.append(name)
    return tuple(held)


async def compare(mesh: Mesh, municipality: str | None, key: bytes) -> list[Compared]:
    """Compares the registers of a mesh.

    Args:
        mesh: whose nodes run.
        municipality: the one to compare; all that are known to any node if None.
        key: of this run, 32 bytes.

    Returns:
        One a municipality, by code. A node that does not answer makes its municipalities not comparable.
    """
    nodes = {name: _Node(in_mesh(mesh, name), key) for name in mesh.registers}
    wanted = {municipality} if municipality else None
    done: dict[str, Compared] = {}
    for attempt in range(_TRIES):
        if attempt:
            await asyncio.sleep(_PAUSE_SECONDS)
        known = dict(zip(nodes, await asyncio.gather(*map(_places, nodes.values())), strict=True))
        if wanted is None:
            wanted = {code for places in known.values() if isinstance(places, dict) for code in places}
            wanted |= {mesh.config(name).identity.name for name in nodes if name.startswith("municipality-")}
        for code in sorted(wanted - {code for code, found in done.items() if found.state != "not comparable"}):
            tiers = {name: nodes[name] for name in tiers_of(mesh, code)}
            done[code] = await _compare_one(code, tiers, {name: known[name] for name in tiers})
        if all(found.state != "not comparable" for found in done.values()):
            break
    return [done[code] for code in sorted(done)]


async def list_damaged(mesh: Mesh, municipality: str | None) -> tuple[list[Damage], dict[str, str]]:
    """What the nodes that hold a municipality know of to be damaged, whoever it is of; all nodes if None.

    Returns:
        The rows by node; and why not, by the names of nodes that did not tell.
    """
    names = tiers_of(mesh, municipality) if municipality else tuple(mesh.registers)
    damaged, silent = list[Damage](), dict[str, str]()
    for name in names:
        try:
            damaged += await _Node(in_mesh(mesh, name), b"").damaged(name)
        except Failure as failure:
            silent[name] = str(failure)
    return damaged, silent


async def digest_of(
    mesh: Mesh, node: str, municipality: str | None, key: bytes
) -> "list[tuple[Place, GetDigestResponse]]":
    """The digests of one node, each as of where the node is.

    Raises:
        Failure: it does not answer.
    """
    asked = _Node(in_mesh(mesh, node), key)
    places = await asked.places()
    chosen = [code for code in sorted(places) if municipality in (None, code)]
    if municipality and not chosen:
        raise Failure(f"{node} holds nothing of {municipality}.")
    return [(_place(code, places[code]), await asked.digest(code, places[code])) for code in chosen]


class _Node:
    """One node, asked as the operator. Each call raises Failure when it does not answer."""

    def __init__(self, target: Target, key: bytes) -> None:
        self._target = target
        self._key = key

    async def places(self) -> dict[str, Position]:
        import grpc

        from jukinet._pb.jukinet.consistency.v1.consistency_pb2 import ListPlacesRequest
        from jukinet._pb.jukinet.consistency.v1.consistency_pb2_grpc import ConsistencyServiceStub

        async with channel_to(self._target) as channel:
            try:
                answer = await ConsistencyServiceStub(channel).ListPlaces(ListPlacesRequest(), timeout=DIGEST_SECONDS)
            except grpc.aio.AioRpcError as error:
                fail_call(error, self._target.address)
        return {place.municipality: (place.epoch, place.sequence) for place in answer.places}

    async def digest(self, municipality: str, position: Position) -> "GetDigestResponse":
        import grpc

        from jukinet._pb.jukinet.consistency.v1.consistency_pb2 import GetDigestRequest
        from jukinet._pb.jukinet.consistency.v1.consistency_pb2_grpc import ConsistencyServiceStub

        request = GetDigestRequest(key=self._key, at=_place(municipality, position))
        async with channel_to(self._target) as channel:
            try:
                return await ConsistencyServiceStub(channel).GetDigest(request, timeout=DIGEST_SECONDS)
            except grpc.aio.AioRpcError as error:
                fail_call(error, self._target.address)

    async def rows(self, municipality: str, position: Position, buckets: Sequence[int]) -> "dict[str, Row]":
        from jukinet._pb.jukinet.consistency.v1.consistency_pb2 import ListRowsRequest

        return await self._list(ListRowsRequest(key=self._key, at=_place(municipality, position), buckets=buckets))

    async def damaged(self, name: str) -> list[Damage]:
        import grpc

        from jukinet._pb.jukinet.consistency.v1.consistency_pb2 import ListDamagedRequest, RowKind
        from jukinet._pb.jukinet.consistency.v1.consistency_pb2_grpc import ConsistencyServiceStub

        async with channel_to(self._target) as channel:
            try:
                answer = await ConsistencyServiceStub(channel).ListDamaged(ListDamagedRequest(), timeout=DIGEST_SECONDS)
            except grpc.aio.AioRpcError as error:
                fail_call(error, self._target.address)
        return [
            Damage(
                node=name,
                kind=RowKind.Name(row.kind).removeprefix("ROW_KIND_").lower(),
                position=row.position or None,
                municipality=row.municipality or None,
                resident_code=row.resident_code or None,
            )
            for row in answer.rows
        ]

    async def _list(self, request: "ListRowsRequest") -> "dict[str, Row]":
        import grpc

        from jukinet._pb.jukinet.consistency.v1.consistency_pb2_grpc import ConsistencyServiceStub
        from jukinet.mesh.client import streaming

        async with channel_to(self._target) as channel:
            try:
                async with streaming(ConsistencyServiceStub(channel).ListRows(request, timeout=DIGEST_SECONDS)) as call:
                    return {row.resident_code: row async for part in call for row in part.rows}
            except grpc.aio.AioRpcError as error:
                fail_call(error, self._target.address)


def _place(municipality: str, position: Position) -> "Place":
    from jukinet._pb.jukinet.consistency.v1.consistency_pb2 import Place

    return Place(municipality=municipality, epoch=position[0], sequence=position[1])


async def _places(node: _Node) -> dict[str, Position] | Failure:
    try:
        return await node.places()
    except Failure as failure:
        return failure


async def _compare_one(
    municipality: str, tiers: dict[str, _Node], known: dict[str, dict[str, Position] | Failure]
) -> Compared:
    """Compares one municipality as of the last place that all of its tiers hold."""
    started = time.monotonic()
    found = Compared(municipality, tuple(tiers))
    held = {}
    for name, places in known.items():
        if isinstance(places, Failure):
            found.why = str(places)
            return found
        held[name] = places.get(municipality, (0, 0))
    found.position = min(held.values())
    found.ahead = {name: max(0, position[1] - found.position[1]) for name, position in held.items()}
    try:
        await _fill(found, tiers)
    except Failure as failure:
        found.why = str(failure)
    found.seconds = round(time.monotonic() - started, 3)
    return found


async def _fill(found: Compared, tiers: dict[str, _Node]) -> None:
    answers = await asyncio.gather(*(node.digest(found.municipality, found.position) for node in tiers.values()))
    found.rows, found.parked = answers[0].rows, max(answer.parked for answer in answers)
    found.root = answers[0].root.hex()
    nothing_came = found.position[1] == 0
    unsealed = nothing_came and any(answer.rows for answer in answers)
    if nothing_came and not unsealed and any(found.ahead.values()):
        behind = ", ".join(name for name, changes in found.ahead.items() if not changes)
        raise Failure(f"Nothing of it has come yet to: {behind}.")
    if len({answer.root for answer in answers}) == 1 and not unsealed:
        found.state = "equal"
        return
    buckets = [
        number
        for number in range(len(answers[0].buckets) // _DIGEST_BYTES)
        if unsealed or len({_bucket(answer, number) for answer in answers}) > 1
    ]
    rows = await asyncio.gather(*(node.rows(found.municipality, found.position, buckets) for node in tiers.values()))
    held = dict(zip(tiers, rows, strict=True))
    reference = next(iter(tiers))
    _name(found, "nothing" if unsealed else reference, {} if unsealed else held[reference], held)
    found.state = "drift" if found.drift else "equal"


def _bucket(answer: "GetDigestResponse", number: int) -> bytes:
    return answer.buckets[number * _DIGEST_BYTES : (number + 1) * _DIGEST_BYTES]


def _name(found: Compared, reference: str, right: "dict[str, Row]", held: "dict[str, dict[str, Row]]") -> None:
    """Names each row in which a node differs from the reference, by resident code."""
    codes = sorted({code for rows in held.values() for code in rows})
    for code in codes:
        waits = any(rows[code].parked for rows in held.values() if code in rows)
        for node, rows in held.items():
            if node == reference:
                continue
            here, there = _present(rows, code), _present(right, code)
            kind = _kind(here, there)
            if kind:
                row = Drift(
                    municipality=found.municipality,
                    resident_code=code,
                    node=node,
                    reference=reference,
                    kind=kind,
                    version=here.version if here else None,
                    reference_version=there.version if there else None,
                    misfiled=any(row.misfiled for row in (here, there) if row),
                    damaged_at=tuple(
                        name for name, row in ((node, here), (reference, there)) if row is not None and row.damaged
                    ),
                )
                (found.waiting if waits else found.drift).append(row)


def _present(rows: "dict[str, Row]", code: str) -> "Row | None":
    row = rows.get(code)
    return row if row is not None and row.digest else None


def _kind(here: "Row | None", there: "Row | None") -> str:
    """How a row differs from the reference's; empty when it does not."""
    if here is None or there is None:
        return "missing" if there else "added" if here else ""
    if here.digest == there.digest:
        return ""
    return "version" if here.version != there.version else "content"
