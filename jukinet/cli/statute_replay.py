"""`jukinet statutes replay`: which of a ledger's past questions a draft of the law would decide differently."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jukinet.cli.output import JSON_HELP, Exit, Failure, failures_told, show, show_json, show_table
from jukinet.cli.statute_files import ApprovedOption, known_editions, read_directory, read_edition

if TYPE_CHECKING:
    from collections import Counter

    from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import Entry
    from jukinet.purpose.replay import Replay, Untold
    from jukinet.purpose.statute import StatuteTable

JsonOption = Annotated[bool, typer.Option("--json", help=JSON_HELP)]


def replay(
    file: Annotated[Path, typer.Argument(metavar="DRAFT", help="Edition, proposed or not.")],
    ledger: Annotated[
        Path, typer.Option("--ledger", metavar="EXPORT", help="Ledger file, as `ledger fetch` wrote it.")
    ],
    agencies: Annotated[
        Path, typer.Option("--agencies", metavar="FILE", help="Agency directory of the time of the questions.")
    ],
    approved: ApprovedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell which of a ledger's past questions would be decided differently under a draft.

    Questions are inquiries, verifications, batches, lists of later changes begun, told and ended, and acknowledged
    recalls. Entries that do not say enough, and those in which the statute table had no part, are counted by what they
    are. Check the ledger with `jukinet ledger verify` first: this command takes it as it is.

    Exit codes: 0 nothing would change, 1 something would, 2 a file cannot be read.

    Example: jukinet statutes replay draft.toml --ledger ledger.jsonl --agencies mesh/nodes/gateway-1/agencies.toml
    """
    with failures_told():
        from jukinet.ledger.verify.findings import Unsound
        from jukinet.purpose.replay import replay as replay_entries
        from jukinet.purpose.statute import StatuteTableError

        table = read_edition(file)
        known = known_editions(approved or [], table)
        directory = read_directory(agencies, known)
        try:
            found = replay_entries(_entries(ledger), table, directory, known=known)
        except (Unsound, OSError) as error:
            raise Failure(f"{ledger} cannot be read as a ledger: {error}", Exit.USAGE) from None
        except StatuteTableError as error:
            raise Failure(f"{ledger}: {error}", Exit.USAGE) from None
        result = _as_json(table, found)
        if as_json:
            show_json(result)
        else:
            _show(result)
        raise typer.Exit(Exit.REFUSED if found.different else Exit.OK)


def _show(result: dict[str, Any]) -> None:
    headers = ["questions", "agency", "action", "row", "edition", "was", "would be"]
    show_table(headers, [[str(value or "") for value in each.values()] for each in result["different"]])
    if result["not_told"]:
        show_table(["entries", "counted", "action", "why"], [list(map(str, e.values())) for e in result["not_told"]])
    if result["unknown_editions"]:
        show(f"Editions of the ledger that were not given with --edition: {', '.join(result['unknown_editions'])}.")
    show("A refusal does not say whether a seal was wanted: what a draft opens counts as asked for without one.")
    show("What told nothing left no entry: requests for changes or recalls that found none, and changes not told.")
    counts = {key: value for key, value in result.items() if isinstance(value, int)}
    show(", ".join(f"{key.replace('_', ' ')}: {value}" for key, value in counts.items()))


def _entries(path: Path) -> "Iterator[Entry]":
    """The entries of a ledger file, one by one. Raises Unsound, OSError."""
    from jukinet.ledger.verify.layout import read_entry
    from jukinet.ledger.verify.ledger_file import EntryLine, read_header, read_lines

    with path.open("rb") as file:
        read_header(file)
        for line in read_lines(file):
            if isinstance(line, EntryLine):
                yield read_entry(line.leaf)


def _as_json(table: "StatuteTable", found: "Replay") -> dict[str, Any]:
    from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import Action
    from jukinet.mesh.errors import name_of

    def outcome(refusal: Any) -> str:
        return name_of(refusal) if refusal else "answered"

    def not_told(counted: str, kinds: "Counter[Untold]") -> list[dict[str, Any]]:
        return [
            {"entries": count, "counted": counted, "action": Action.Name(kind.action), "why": kind.why}
            for kind, count in sorted(kinds.items())
        ]

    return {
        "edition": table.edition,
        "digest": table.digest.hex(),
        "entries": found.entries,
        "questions": found.questions,
        "same": found.same,
        "would_differ": found.different.total(),
        "cannot_know": found.cannot_know.total(),
        "left_out": found.left_out.total(),
        "different": [
            {
                "questions": count,
                "agency": change.agency,
                "action": Action.Name(change.action),
                "row": change.purpose,
                "edition": change.edition or None,
                "was": outcome(change.was),
                "would_be": outcome(change.would_be),
            }
            for change, count in sorted(found.different.items())
        ],
        "not_told": not_told("cannot know", found.cannot_know) + not_told("left out", found.left_out),
        "unknown_editions": sorted(found.unknown_editions),
    }
