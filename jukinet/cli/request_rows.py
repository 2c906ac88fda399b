"""A resident's request as the command line shows it, and words of its options."""

from typing import TYPE_CHECKING, Any, Final

from jukinet.cli.output import Exit, Failure, show_json, show_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2 import RequestStatus

_HEADERS: Final = ["request", "kind", "state", "received", "due", "overdue", "answered", "closed", "because"]


def value_of(enum: Any, word: str, option: str) -> Any:
    """The number of an enumerator, by its last words in small letters. Raises Failure."""
    names = {name: name.lower().replace("_", "-") for name in enum.keys()[1:]}
    prefix = enum.DESCRIPTOR.values[0].name.removesuffix("UNSPECIFIED").lower().replace("_", "-")
    for name, shown in names.items():
        if shown.removeprefix(prefix) == word:
            return enum.Value(name)
    raise Failure(f"{option} is one of {', '.join(each.removeprefix(prefix) for each in names.values())}.", Exit.USAGE)


def row_of(status: "RequestStatus") -> dict[str, Any]:
    """A request, in the names that `--json` prints."""
    from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2 import CloseReason, RequestKind, RequestState

    because = CloseReason.Name(status.close_reason).removeprefix("CLOSE_REASON_")
    return {
        "request_id": status.request_id,
        "kind": RequestKind.Name(status.kind).removeprefix("REQUEST_KIND_"),
        "state": RequestState.Name(status.state).removeprefix("REQUEST_STATE_"),
        "received_on": status.received_on,
        "due_on": status.due_on,
        "overdue": status.overdue,
        "answered_on": status.answered_on or None,
        "closed_on": status.closed_on or None,
        "close_reason": because if status.closed_on else None,
    }


def show_request(status: "RequestStatus", *, as_json: bool) -> None:
    """Prints a request."""
    row = row_of(status)
    if as_json:
        show_json(row)
    else:
        show_rows([row])


def show_rows(rows: "Iterable[dict[str, Any]]") -> None:
    """Prints requests as a table."""
    show_table(_HEADERS, [[_cell(value) for value in row.values()] for row in rows])


def _cell(value: Any) -> str:
    return "" if value is None or value is False else "yes" if value is True else str(value)
