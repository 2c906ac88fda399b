"""`jukinet admin`: the operator's view of one node. Counts and states, never a person."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from jukinet.cli.connect import CALL_SECONDS, channel_to, in_mesh
from jukinet.cli.layout import Mesh
from jukinet.cli.output import JSON_HELP, fail_call, failures_told, show, show_json, show_table

if TYPE_CHECKING:
    from jukinet._pb.jukinet.admin.v1.admin_pb2 import GetStatusResponse, LinkStatus, ListParkedResponse

app = typer.Typer(no_args_is_help=True, help="The operator's view of one node: counts and states, never a person.")

LINK_HEADERS: Final = ["link", "peer", "open", "epoch", "last", "mark", "center", "moved at", "last error"]
LIST_SECONDS: Final = 60.0
HELD_HEADERS: Final = ["held", "since", "changes", "deletions", "residents", "parked", "proposed by", "lifted until"]
MIRROR_HEADERS: Final = ["mirrored", "state", "entries", "verified at"]
WITNESS_HEADERS: Final = ["witness", "state", "size", "behind", "cosigned at", "last error"]

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
        _show_residents(answer)
        if answer.waiting_too_long:
            show(f"ALARM: {answer.waiting_too_long} waiting too long, since {moment_in(answer, 'oldest_waiting_at')}")
        _show_scrub(answer)
        if answer.policy_digest:
            show(f"edition in force: {answer.edition or 'none'}, policy digest {answer.policy_digest.hex()}")
        if answer.role == "gateway":
            show(f"ledger entries: {answer.ledger_entries}, published: {answer.published_entries}")
            show(f"whole ledger read again: {moment_in(answer, 'ledger_scrubbed_at') or 'not yet'}")
            show_table(WITNESS_HEADERS, witness_rows(answer))
        if answer.freezes_undeclared:
            show("ALARM: the center does not know who is frozen here")
        if answer.mirrors:
            show_table(MIRROR_HEADERS, mirror_rows(answer))
            show(f"residents' requests open: {answer.open_requests}")
        if answer.overdue_requests:
            show(f"ALARM: {answer.overdue_requests} of them are overdue")
        for line in awaited_lines(answer):
            show(line)
        _show_held(answer)
        show_table(LINK_HEADERS, [link_row(link) for link in answer.links])


@app.command()
def parked(mesh: MeshOption, node: NodeOption, as_json: JsonOption = False) -> None:
    """List the changes (変更情報) that a node keeps but cannot apply, oldest first, without their content.

    Before them stand the municipalities that their change brake holds here.

    Example: jukinet admin parked --mesh mesh --node center --json
    """
    with failures_told():
        answer, found = asyncio.run(_list_parked(Mesh.open(mesh), node))
        rows = [_parked_as_json(each) for each in found]
        if as_json:
            show_json({"parked": rows, "held": held_as_json(answer)})
            return
        _show_held(answer)
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


async def _list_parked(mesh: Mesh, node: str) -> "tuple[GetStatusResponse, list[ListParkedResponse]]":
    import grpc

    from jukinet._pb.jukinet.admin.v1.admin_pb2 import GetStatusRequest, ListParkedRequest
    from jukinet._pb.jukinet.admin.v1.admin_pb2_grpc import AdminServiceStub

    target = in_mesh(mesh, node)
    async with channel_to(target) as channel:
        stub = AdminServiceStub(channel)
        call = stub.ListParked(ListParkedRequest(), timeout=LIST_SECONDS)
        try:
            return await stub.GetStatus(GetStatusRequest(), timeout=CALL_SECONDS), [each async for each in call]
        except grpc.aio.AioRpcError as error:
            fail_call(error, target.address)
        finally:
            call.cancel()


def _show_residents(answer: "GetStatusResponse") -> None:
    for name, count in sorted(answer.residents.items()):
        show(f"residents {name}: {count}")
    if answer.HasField("register_scrub"):
        show(f"residents counted: {moment_in(answer, 'residents_counted_at') or 'not yet'}")


def status_as_json(answer: "GetStatusResponse") -> dict[str, Any]:
    """Gives a status with every key, in the names of the contract."""
    return {
        "role": answer.role,
        "identity": answer.identity,
        "version": answer.version,
        "residents": dict(sorted(answer.residents.items())),
        "residents_counted_at": moment_in(answer, "residents_counted_at"),
        "parked": answer.parked,
        "oldest_waiting_at": moment_in(answer, "oldest_waiting_at"),
        "waiting_too_long": answer.waiting_too_long,
        "ledger_entries": answer.ledger_entries,
        "published_entries": answer.published_entries,
        "ledger_scrubbed_at": moment_in(answer, "ledger_scrubbed_at"),
        "register_scrub": scrub_as_json(answer),
        "witnesses": witnesses_as_json(answer),
        "freezes_undeclared": answer.freezes_undeclared,
        "edition": answer.edition,
        "policy_digest": answer.policy_digest.hex(),
        "mirrors": mirrors_as_json(answer),
        "open_requests": answer.open_requests,
        "overdue_requests": answer.overdue_requests,
        "held": held_as_json(answer),
        "awaited": awaited_as_json(answer),
        "links": [_link_as_json(link) for link in answer.links],
    }


def held_as_json(answer: "GetStatusResponse") -> list[dict[str, Any]]:
    """Gives the municipalities that a node's change brake holds, in the names of the contract."""
    return [
        {
            "municipality": each.municipality,
            "held_at": moment_in(each, "held_at"),
            "changes": each.changes,
            "deletions": each.deletions,
            "residents": each.residents,
            "parked": each.parked,
            "proposed_by": each.proposed_by or None,
            "proposed_at": moment_in(each, "proposed_at"),
            "lifted_until": moment_in(each, "lifted_until"),
        }
        for each in answer.held
    ]


def scrub_as_json(answer: "GetStatusResponse") -> dict[str, Any] | None:
    """Gives what came of it that a node reads its register again, in the names of the contract; None without one."""
    if not answer.HasField("register_scrub"):
        return None
    found = answer.register_scrub
    return {
        "damaged_records": found.damaged_records,
        "damaged_changes": found.damaged_changes,
        "whole_at": moment_in(found, "whole_at"),
        "rows": found.rows,
    }


def awaited_as_json(answer: "GetStatusResponse") -> list[dict[str, Any]]:
    """Gives the municipalities for which agencies' lists wait, in the names of the contract."""
    return [
        {
            "municipality": each.municipality,
            "lists": each.lists,
            "waiting_since": moment_in(each, "waiting_since"),
        }
        for each in answer.awaited
    ]


def awaited_lines(answer: "GetStatusResponse") -> list[str]:
    """Says for people which lists wait, a line a municipality."""
    return [
        f"{each['lists']} lists of later changes wait for {each['municipality']}, which is half in, "
        f"since {each['waiting_since']}"
        for each in awaited_as_json(answer)
    ]


def held_rows(answer: "GetStatusResponse") -> list[list[str]]:
    """Gives the cells of each held municipality under `HELD_HEADERS`."""
    shown = ("municipality", "held_at", "changes", "deletions", "residents", "parked", "proposed_by", "lifted_until")
    return [["" if each[key] is None else str(each[key]) for key in shown] for each in held_as_json(answer)]


def witnesses_as_json(answer: "GetStatusResponse") -> list[dict[str, Any]]:
    """Gives the witnesses of a gateway's ledger, in the names of the contract."""
    from jukinet._pb.jukinet.admin.v1.admin_pb2 import WitnessState
    from jukinet.mesh.errors import name_of

    return [
        {
            "identity": each.identity,
            "state": WitnessState.Name(each.state).removeprefix("WITNESS_STATE_"),
            "size": each.size,
            "behind": each.behind,
            "cosigned_at": moment_in(each, "cosigned_at"),
            "last_error": name_of(each.last_error) if each.last_error else None,
        }
        for each in answer.witnesses
    ]


def mirrors_as_json(answer: "GetStatusResponse") -> list[dict[str, Any]]:
    """Gives the ledgers that the disclosure node mirrors, in the names of the contract."""
    from jukinet._pb.jukinet.admin.v1.admin_pb2 import MirrorState

    return [
        {
            "identity": each.identity,
            "state": MirrorState.Name(each.state).removeprefix("MIRROR_STATE_"),
            "entries": each.entries,
            "verified_at": moment_in(each, "verified_at"),
        }
        for each in answer.mirrors
    ]


def mirror_rows(answer: "GetStatusResponse") -> list[list[str]]:
    """Gives the cells of each mirrored ledger under `MIRROR_HEADERS`."""
    return [
        ["" if cell is None else str(cell).removeprefix("spiffe://") for cell in each.values()]
        for each in mirrors_as_json(answer)
    ]


def witness_rows(answer: "GetStatusResponse") -> list[list[str]]:
    """Gives the cells of each witness under `WITNESS_HEADERS`."""
    return [
        ["" if cell is None else str(cell).removeprefix("spiffe://") for cell in each.values()]
        for each in witnesses_as_json(answer)
    ]


def damage_alarm(answer: "GetStatusResponse") -> str:
    """Says how much of a register is not what was written; empty when all that was read again is."""
    records, changes = answer.register_scrub.damaged_records, answer.register_scrub.damaged_changes
    return f"ALARM: {records} records and {changes} stored changes are damaged" if records or changes else ""


def alarms_in(answer: "GetStatusResponse") -> list[str]:
    """Says for people what somebody has to look at, a line each."""
    overdue = answer.overdue_requests
    alarms = [f"ALARM: {overdue} requests of residents are overdue"] if overdue else []
    return [*alarms, *filter(None, [damage_alarm(answer)]), *awaited_lines(answer)]


def _show_scrub(answer: "GetStatusResponse") -> None:
    if answer.HasField("register_scrub"):
        found = answer.register_scrub
        if alarm := damage_alarm(answer):
            show(alarm)
        show(f"whole register read again: {moment_in(found, 'whole_at') or 'not yet'}; rows of the pass: {found.rows}")


def _show_held(answer: "GetStatusResponse") -> None:
    if answer.held:
        show(f"ALARM: {len(answer.held)} held by the change brake")
        show_table(HELD_HEADERS, held_rows(answer))


def link_row(link: "LinkStatus") -> list[str]:
    """Gives the cells of a link under `LINK_HEADERS`."""
    shown = _link_as_json(link)
    cells = [
        "to" if link.outgoing else "from",
        link.peer.removeprefix("spiffe://"),
        "slow" if link.slow else "yes" if link.connected else "no",
        *(shown[key] for key in ("epoch", "last_sequence", "mark", "center_mark", "moved_at", "last_error")),
    ]
    return ["" if cell is None else str(cell) for cell in cells]


def _link_as_json(link: "LinkStatus") -> dict[str, Any]:
    from jukinet.mesh.errors import name_of

    return {
        "peer": link.peer,
        "outgoing": link.outgoing,
        "connected": link.connected,
        "slow": link.slow,
        "epoch": link.epoch,
        "last_sequence": link.last_sequence,
        "mark": link.mark,
        "center_mark": link.center_mark,
        "moved_at": moment_in(link, "moved_at"),
        "last_error": name_of(link.last_error) if link.last_error else None,
    }


def _parked_as_json(each: "ListParkedResponse") -> dict[str, Any]:
    from jukinet.mesh.errors import name_of

    return {
        "municipality": each.municipality,
        "sequence": each.sequence,
        "reason": name_of(each.reason),
        "parked_at": moment_in(each, "parked_at"),
        "epoch": each.epoch,
        "behind": each.behind,
        "waiting": [
            {"municipality": other.municipality, "epoch": other.epoch, "sequence": other.sequence}
            for other in each.waiting
        ],
        "waits_too_long": each.waits_too_long,
        "proposed_by": each.proposed_by or None,
        "proposed_at": moment_in(each, "proposed_at"),
    }


def moment_in(message: Any, field: str) -> str | None:
    """A moment in RFC 3339; None for one that has not been, which a node may tell as the year 1970."""
    moment = getattr(message, field)
    return moment.ToJsonString() if moment.seconds else None
