"""`jukinet disclosure`: what a counter (窓口) does for a resident who wants to see what the network holds and gave."""

import asyncio
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from jukinet.cli.connect import CALL_SECONDS, TlsOptions, channel_to
from jukinet.cli.counter import Counter, open_counter
from jukinet.cli.options import Certificate, Key, MeshDirectory, NodesCa, Server, To
from jukinet.cli.output import (
    JSON_HELP,
    Exit,
    Failure,
    fail_call,
    failures_told,
    require_new_file,
    show,
    show_json,
    show_table,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2 import FindUsageRequest, FindUsageResponse

_LATER_PART_SECONDS: Final = 60.0

app = typer.Typer(
    no_args_is_help=True,
    help="A counter (窓口) for residents: who received their data, and what the network holds of them (開示).",
)

Resident = Annotated[
    Path, typer.Argument(metavar="RESIDENT", help="File with the 住民票コード of the resident; `-` = standard input.")
]
CounterName = Annotated[
    str | None, typer.Option("--counter", metavar="NAME", help="As which counter of the mesh: a code, or portal.")
]
Clerk = Annotated[str, typer.Option("--clerk", metavar="ID", help="The counter's own id of who checked the resident.")]
Proof = Annotated[
    str, typer.Option("--proof", metavar="HOW", help="How: individual-number-card, photo-document, two-documents, …")
]
CheckKey = Annotated[
    Path | None, typer.Option("--check-key", metavar="FILE", help="Key that signs the check; the counter's by default.")
]


@app.command()
def usage(
    resident: Resident,
    first: Annotated[str, typer.Option("--first", metavar="DAY", help="First day, such as 2026-01-01.")],
    last: Annotated[str, typer.Option("--last", metavar="DAY", help="Last day.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the answer goes; must not exist.")],
    clerk: Clerk,
    proof: Proof,
    counter: CounterName = None,
    check_key: CheckKey = None,
    mesh: MeshDirectory = None,
    to: To = None,
    server: Server = None,
    certificate: Certificate = None,
    key: Key = None,
    nodes_ca: NodesCa = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Tell a resident who received the record (提供状況の開示), with proofs, once a day for each resident.

    The file holds the whole signed answer, for `jukinet ledger verify-usage`; it is the resident's, and nobody else's.

    Example: jukinet disclosure usage code.txt --first 2026-01-01 --last 2026-11-27 --out usage.json --clerk 7
    --proof photo-document --mesh mesh --counter 131016
    """
    from google.protobuf import json_format

    from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2 import AFFAIR_FIND_USAGE, FindUsageRequest, Usage
    from jukinet._pb.jukinet.register.v1.identity_pb2 import CalendarDate
    from jukinet.disclosure.usage_rows import contradicted, rows_of, until

    with failures_told():
        require_new_file(out)
        found = open_counter(mesh, counter, TlsOptions(to, server, certificate, key, nodes_ca), check_key)
        days = _day(first, "--first"), _day(last, "--last")
        begin, end = (CalendarDate(year=day.year, month=day.month, day=day.day) for day in days)
        signed = found.check(resident, affair=AFFAIR_FIND_USAGE, clerk=clerk, proof=proof)
        parts = asyncio.run(_find(found, FindUsageRequest(check=signed, first_day=begin, last_day=end)))
        out.touch(mode=0o600)
        out.write_text("".join(f"{json_format.MessageToJson(part)}\n" for part in parts), encoding="utf-8")
        usages = [Usage.FromString(part.usage) for part in parts]
        told, rows = usages[0], [row for part in usages for row in rows_of(part)]
        sealed = sum(each.sealed for each in told.ledgers)
        if as_json:
            ledgers = [each.origin for each in told.ledgers]
            doubts = {"until": until(told), "contradicted": contradicted(told)}
            show_json({"rows": rows, "ledgers": ledgers, "sealed": sealed, "notice": told.notice, **doubts})
            return
        show_table(
            ["date", "function", "affair", "article", "provider", "recipient", "items"],
            [
                [
                    row["time"],
                    row["function_ja"],
                    row["affair_ja"] or row["purpose"],
                    row["article"],
                    row["provider"].removeprefix("spiffe://"),
                    row["recipient_ja"] or row["recipient"],
                    "・".join(row["items_ja"]),
                ]
                for row in rows
            ],
        )
        show(told.notice)
        show(f"what was provided until {until(told)}, as far as the ledgers showed it until then")
        for origin in contradicted(told):
            show(f"{origin} showed after that what does not verify: what it provided since is not known")
        show(f"{sealed} entries of the period, of everybody together, are sealed until a later day")
        show(f"{len(rows)} provisions; the proofs are in {out}")


async def _find(counter: Counter, request: "FindUsageRequest") -> "list[FindUsageResponse]":
    """All parts of an answer. Raises Failure: refused, or no answer."""
    from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2_grpc import DisclosureServiceStub
    from jukinet.cli.retry import CallRefused, DeadlinePassed

    async with channel_to(counter.target) as channel:
        try:
            return await all_parts(DisclosureServiceStub(channel).FindUsage, request)
        except CallRefused as refused:
            fail_call(refused.error, counter.target.address)
        except DeadlinePassed as passed:
            raise Failure(
                f"No whole answer from {counter.target.address}: {passed}. Nothing was written. If a part had left, "
                "the resident can be told again tomorrow.",
                Exit.UNREACHABLE,
            ) from None


async def all_parts(
    find: "Callable[..., Awaitable[FindUsageResponse]]", request: "FindUsageRequest"
) -> "list[FindUsageResponse]":
    """Asks for the parts of an answer one after another, with the same check of identity.

    A part whose call is lost is asked for again, a later one also where the node refuses for what passes by itself: by
    the first one the resident's day is used up. The check of identity holds for ten minutes.

    Args:
        find: makes the call.
        request: for the first part.

    Raises:
        CallRefused: the node refused for good.
        DeadlinePassed: a part did not come in time.
    """
    import grpc

    from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2 import Usage
    from jukinet.cli.retry import CallRefused, keep_trying
    from jukinet.disclosure.usage_rows import next_row
    from jukinet.mesh.errors import reason_of

    parts: list[FindUsageResponse] = []

    async def ask(left: float) -> "FindUsageResponse":
        try:
            return await find(request, timeout=min(left, CALL_SECONDS))
        except grpc.aio.AioRpcError as error:
            if not parts and reason_of(error):
                raise CallRefused(error) from None
            raise

    first_row: int | None = 0
    while first_row is not None:
        request.first_row = first_row
        parts.append(await keep_trying(ask, _LATER_PART_SECONDS if parts else CALL_SECONDS, lambda: 0))
        first_row = next_row(Usage.FromString(parts[-1].usage))
    return parts


def _day(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Failure(f"{option} is a day such as 2026-01-01.", Exit.USAGE) from None
