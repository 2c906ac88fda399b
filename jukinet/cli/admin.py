"""`jukinet admin`: the operator's view of one node. Counts and states, never a person."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from jukinet.cli.connect import CALL_SECONDS, channel_to, in_mesh
from jukinet.cli.layout import OPERATOR, Mesh
from jukinet.cli.output import JSON_HELP, Exit, Failure, fail_call, failures_told, show, show_json, show_table

if TYPE_CHECKING:
    from jukinet._pb.jukinet.admin.v1.admin_pb2 import GetStatusResponse, LinkStatus, ListParkedResponse

app = typer.Typer(no_args_is_help=True, help="The operator's view of one node: counts and states, never a person.")

LINK_HEADERS: Final = ["link", "peer", "open", "epoch", "last", "mark", "center", "moved at", "last error"]

MeshOption = Annotated[Path, typer.Option("--mesh", metavar="DIR", help="Folder of the mesh.")]
NodeOption = Annotated[str, typer.Option("--node", metavar="NAME", help="Such as center or municipality-131016.")]
JsonOption = Annotated[bool, typer.Option("--json", help=JSON_HELP)]


@app.command()
def status(mesh: MeshOption, node: NodeOption, as_json: JsonOption = False) -> None:
    """Show what a node is, how far its links are and how much is parked.

    Example: jukinet admin status --mesh mesh --node municipality-131016
    """
    with failures_told():
        answer = asyncio.run(get_status(Mesh.open(mesh), node))
        if as_json:
            show_json(status_as_json(answer))
            return
        show(f"{answer.identity}\n{answer.role}, version {answer.version}, {answer.parked} parked")
        for name, count in sorted(answer.residents.items()):
            show(f"residents {name}: {count}")
        if answer.waiting_too_long:
            show(f"ALARM: {answer.waiting_too_long} waiting too long, since {_time(answer, 'oldest_waiting_at')}")
        if answer.role == "gateway":
            show(f"ledger entries: {answer.ledger_entries}")
        show_table(LINK_HEADERS, [link_row(link) for link in answer.links])


@app.command()
def parked(mesh: MeshOption, node: NodeOption, as_json: JsonOption = False) -> None:
    """List the changes (変更情報) that a node keeps but cannot apply, oldest first, without their content.

    Example: jukinet admin parked --mesh mesh --node center --json
    """
    with failures_told():
        found = asyncio.run(_list_parked(Mesh.open(mesh), node))
        rows = [_parked_as_json(each) for each in found]
        if as_json:
            show_json({"parked": rows})
            return
        show_table(
            ["municipality", "epoch", "sequence", "reason", "since", "behind", "too long", "proposed by"],
            [
                [
                    row["municipality"],
                    str(row["epoch"]),
                    str(row["sequence"]),
                    row["reason"],
                    row["parked_at"] or "",
                    str(row["behind"]),
                    "yes" if row["waits_too_long"] else "",
                    row["proposed_by"] or "",
                ]
                for row in rows
            ],
        )


@app.command()
def release(
    municipality: Annotated[str, typer.Argument(metavar="MUNICIPALITY", help="Whose change it is, six digits.")],
    epoch: Annotated[int, typer.Argument(metavar="EPOCH", help="As `parked` shows it.")],
    sequence: Annotated[int, typer.Argument(metavar="SEQUENCE", help="As `parked` shows it.")],
    mesh: MeshOption,
    node: NodeOption,
    operator: Annotated[
        str, typer.Option("--as", metavar="NAME", help="Operator whose certificate to use.")
    ] = OPERATOR,
    again: Annotated[bool, typer.Option("--again", help="Judge it once more by the rules as they are.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Set a parked change aside for good: the first operator proposes, a second one carries out.

    What waited behind it is tried again in order. With --again one operator has it judged once more instead.

    Example: jukinet admin release 131016 1 42 --mesh mesh --node center --as operator-2
    """
    with failures_told():
        answer = asyncio.run(_release(Mesh.open(mesh), node, operator, (municipality, epoch, sequence), again=again))
        if as_json:
            show_json(answer)
        else:
            show(", ".join(f"{key}: {value}" for key, value in answer.items() if value is not None))


async def _release(mesh: Mesh, node: str, operator: str, place: tuple[str, int, int], *, again: bool) -> dict[str, Any]:
    import grpc

    from jukinet._pb.jukinet.admin.v1 import admin_pb2
    from jukinet._pb.jukinet.admin.v1.admin_pb2_grpc import AdminServiceStub
    from jukinet.mesh.errors import name_of
    from jukinet.mesh.identity import Identity, IdentityError

    try:
        client = Identity("operator", operator)
        where = admin_pb2.ChangePlace(municipality=place[0], epoch=place[1], sequence=place[2])
    except (IdentityError, ValueError) as error:
        raise Failure(str(error), Exit.USAGE) from None
    target = in_mesh(mesh, node, client)
    async with channel_to(target) as channel:
        stub = AdminServiceStub(channel)
        try:
            if again:
                tried = await stub.RetryParked(admin_pb2.RetryParkedRequest(place=where), timeout=60.0)
                reason = name_of(tried.reason) if tried.reason else None
                return {"step": "still parked" if reason else "applied", "reason": reason, "applied": tried.applied}
            done = await stub.ReleaseParked(admin_pb2.ReleaseParkedRequest(place=where), timeout=60.0)
        except grpc.aio.AioRpcError as error:
            fail_call(error, target.address)
    carried_out = done.step == admin_pb2.RELEASE_STEP_CARRIED_OUT
    return {
        "step": "carried out" if carried_out else "proposed",
        "proposed_by": done.proposed_by,
        "applied": done.applied,
    }


async def get_status(mesh: Mesh, node: str) -> "GetStatusResponse":
    """Asks a node of a mesh for its status, as the mesh's operator.

    Raises:
        Failure: it does not answer.
    """
    import grpc

    from jukinet._pb.jukinet.admin.v1.admin_pb2 import GetStatusRequest
    from jukinet._pb.jukinet.admin.v1.admin_pb2_grpc import AdminServiceStub

    target = in_mesh(mesh, node)
    async with channel_to(target) as channel:
        try:
            return await AdminServiceStub(channel).GetStatus(GetStatusRequest(), timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            fail_call(error, target.address)


async def _list_parked(mesh: Mesh, node: str) -> "list[ListParkedResponse]":
    import grpc

    from jukinet._pb.jukinet.admin.v1.admin_pb2 import ListParkedRequest
    from jukinet._pb.jukinet.admin.v1.admin_pb2_grpc import AdminServiceStub

    target = in_mesh(mesh, node)
    async with channel_to(target) as channel:
        call = AdminServiceStub(channel).ListParked(ListParkedRequest(), timeout=60.0)
        try:
            return [each async for each in call]
        except grpc.aio.AioRpcError as error:
            fail_call(error, target.address)
        finally:
            call.cancel()


def status_as_json(answer: "GetStatusResponse") -> dict[str, Any]:
    """Gives a status with every key, in the names of the contract."""
    return {
        "role": answer.role,
        "identity": answer.identity,
        "version": answer.version,
        "residents": dict(sorted(answer.residents.items())),
        "parked": answer.parked,
        "oldest_waiting_at": _time(answer, "oldest_waiting_at"),
        "waiting_too_long": answer.waiting_too_long,
        "ledger_entries": answer.ledger_entries,
        "links": [_link_as_json(link) for link in answer.links],
    }


def link_row(link: "LinkStatus") -> list[str]:
    """Gives the cells of a link under `LINK_HEADERS`."""
    shown = _link_as_json(link)
    cells = [
        "to" if link.outgoing else "from",
        link.peer.removeprefix("spiffe://"),
        "yes" if link.connected else "no",
        *(shown[key] for key in ("epoch", "last_sequence", "mark", "center_mark", "moved_at", "last_error")),
    ]
    return ["" if cell is None else str(cell) for cell in cells]


def _link_as_json(link: "LinkStatus") -> dict[str, Any]:
    from jukinet.mesh.errors import name_of

    return {
        "peer": link.peer,
        "outgoing": link.outgoing,
        "connected": link.connected,
        "epoch": link.epoch,
        "last_sequence": link.last_sequence,
        "mark": link.mark,
        "center_mark": link.center_mark,
        "moved_at": _time(link, "moved_at"),
        "last_error": name_of(link.last_error) if link.last_error else None,
    }


def _parked_as_json(each: "ListParkedResponse") -> dict[str, Any]:
    from jukinet.mesh.errors import name_of

    return {
        "municipality": each.municipality,
        "sequence": each.sequence,
        "reason": name_of(each.reason),
        "parked_at": _time(each, "parked_at"),
        "epoch": each.epoch,
        "behind": each.behind,
        "waiting": [
            {"municipality": other.municipality, "epoch": other.epoch, "sequence": other.sequence}
            for other in each.waiting
        ],
        "waits_too_long": each.waits_too_long,
        "proposed_by": each.proposed_by or None,
        "proposed_at": _time(each, "proposed_at"),
    }


def _time(message: Any, field: str) -> str | None:
    """A moment in RFC 3339; None for one that has not been, which a node may tell as the year 1970."""
    moment = getattr(message, field)
    return moment.ToJsonString() if moment.seconds else None
