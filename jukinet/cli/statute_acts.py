"""`jukinet statutes propose`, `approve` and `editions`: what two operators do about the law at gateway and center."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from jukinet.cli.admin import JsonOption, MeshOption, moment_in
from jukinet.cli.connect import CALL_SECONDS, channel_to, in_mesh
from jukinet.cli.layout import OPERATOR, Mesh
from jukinet.cli.output import Exit, Failure, fail_call, failures_told, show_json, show_table, tell

if TYPE_CHECKING:
    from jukinet._pb.jukinet.statute.v1.statute_pb2 import EditionStanding, ProposeEditionRequest
    from jukinet._pb.jukinet.statute.v1.statute_pb2_grpc import StatuteServiceAsyncStub
    from jukinet.mesh.identity import Identity

_ACT_SECONDS: Final = 60.0
_PART_BYTES: Final = 32768
_HEADERS: Final = ["node", "edition", "from", "state", "proposed by", "approved by", "digest"]

ToOption = Annotated[
    list[str], typer.Option("--to", metavar="NODE", help="A gateway or the center; repeat it for each.")
]
AsOption = Annotated[str, typer.Option("--as", metavar="NAME", help="Operator whose certificate to use.")]

Call = Callable[["StatuteServiceAsyncStub"], Awaitable["list[EditionStanding]"]]


def propose(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Edition, as `statutes draft` begins one.")],
    mesh: MeshOption,
    to: ToOption,
    operator: AsOption = OPERATOR,
    as_json: JsonOption = False,
) -> None:
    """Propose an edition of the statute table (別表の版): nothing changes until another operator approves its digest.

    Example: jukinet statutes propose draft.toml --mesh mesh --to center --to gateway-1
    """
    with failures_told():
        try:
            content = file.read_bytes()
        except OSError as error:
            raise Failure(f"{file} cannot be read: {error.strerror}", Exit.USAGE) from None

        async def call(stub: "StatuteServiceAsyncStub") -> "list[EditionStanding]":
            from jukinet.mesh.client import streaming

            proposing = stub.ProposeEdition(_parts(content), timeout=_ACT_SECONDS)
            async with streaming(proposing):
                return [(await proposing).edition]

        _act(mesh, to, operator, call, as_json=as_json)


def approve(
    digest: Annotated[str, typer.Argument(metavar="DIGEST", help="SHA-256 of the file, 64 hexadecimal digits.")],
    mesh: MeshOption,
    to: ToOption,
    operator: AsOption = OPERATOR,
    as_json: JsonOption = False,
) -> None:
    """Approve an edition that another operator proposed: it decides from its day on, without a restart.

    Take the digest from your own copy of the file: `jukinet statutes check FILE` prints it, as `sha256sum FILE` does.

    Example: jukinet statutes approve DIGEST --mesh mesh --to center --to gateway-1 --as operator-2
    """
    with failures_told():
        from jukinet._pb.jukinet.statute.v1.statute_pb2 import ApproveEditionRequest

        try:
            wanted = ApproveEditionRequest(digest=bytes.fromhex(digest))
        except ValueError:
            raise Failure("DIGEST is the SHA-256 of the edition's file: 64 hexadecimal digits.", Exit.USAGE) from None

        async def call(stub: "StatuteServiceAsyncStub") -> "list[EditionStanding]":
            return [(await stub.ApproveEdition(wanted, timeout=_ACT_SECONDS)).edition]

        _act(mesh, to, operator, call, as_json=as_json)


def editions(
    mesh: MeshOption,
    to: ToOption,
    operator: AsOption = OPERATOR,
    as_json: JsonOption = False,
) -> None:
    """List a node's editions (版): which one decides today, which were approved, which are proposed.

    Example: jukinet statutes editions --mesh mesh --to center --to gateway-1
    """
    with failures_told():
        from jukinet._pb.jukinet.statute.v1.statute_pb2 import ListEditionsRequest

        async def call(stub: "StatuteServiceAsyncStub") -> "list[EditionStanding]":
            return list((await stub.ListEditions(ListEditionsRequest(), timeout=CALL_SECONDS)).editions)

        _act(mesh, to, operator, call, as_json=as_json)


def _act(mesh: Path, nodes: list[str], operator: str, call: Call, *, as_json: bool) -> None:
    """Calls each node and shows what stands there. A node that refuses keeps the others from nothing."""
    from jukinet.mesh.identity import Identity, IdentityError

    try:
        client = Identity("operator", operator)
    except IdentityError as error:
        raise Failure(str(error), Exit.USAGE) from None
    opened = Mesh.open(mesh)
    rows: list[dict[str, Any]] = []
    failed: Failure | None = None
    for node in nodes:
        try:
            standings = asyncio.run(_call(opened, node, client, call))
        except Failure as failure:
            tell(f"{node}: {failure}")
            failed = failed or failure
            continue
        rows += [_as_json(node, standing) for standing in standings]
    if as_json:
        show_json({"editions": rows})
    elif rows:
        show_table(_HEADERS, [_cells(row) for row in rows])
    if failed:
        raise Failure("Not done at every node; what was refused stands above.", failed.code)


async def _call(mesh: Mesh, node: str, client: "Identity", call: Call) -> "list[EditionStanding]":
    import grpc

    from jukinet._pb.jukinet.statute.v1.statute_pb2_grpc import StatuteServiceStub

    target = in_mesh(mesh, node, client)
    async with channel_to(target) as channel:
        try:
            return await call(StatuteServiceStub(channel))
        except grpc.aio.AioRpcError as error:
            fail_call(error, target.address)


def _parts(content: bytes) -> "Iterator[ProposeEditionRequest]":
    from jukinet._pb.jukinet.statute.v1.statute_pb2 import ProposeEditionRequest

    for first in range(0, len(content), _PART_BYTES):
        yield ProposeEditionRequest(part=content[first : first + _PART_BYTES])


def _as_json(node: str, standing: "EditionStanding") -> dict[str, Any]:
    return {
        "node": node,
        "edition": standing.name,
        "in_force_from": standing.in_force_from,
        "state": _state(standing),
        "in_force": standing.in_force,
        "proposed_by": standing.proposed_by or None,
        "proposed_at": moment_in(standing, "proposed_at"),
        "approved_by": standing.approved_by or None,
        "approved_at": moment_in(standing, "approved_at"),
        "digest": standing.digest.hex(),
    }


def _state(standing: "EditionStanding") -> str:
    if not standing.proposed_by:
        return "of the program"
    return "approved" if standing.approved_by else "proposed"


def _cells(row: dict[str, Any]) -> list[str]:
    shown = ("node", "edition", "in_force_from", "state", "proposed_by", "approved_by", "digest")
    cells = ["" if row[key] is None else str(row[key]).removeprefix("spiffe://") for key in shown]
    return [*cells[:3], f"{cells[3]}, in force" if row["in_force"] else cells[3], *cells[4:]]
