"""Residents' requests in the database: each as it was taken, and its steps, of which none is ever changed."""

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, insert, select

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.disclosure import schema
from jukinet.disclosure.request import CLOSED, ENDS, Request, receive
from jukinet.mesh.errors import Refused


class Step(NamedTuple):
    """What is kept of a step beside the state that it led to."""

    day: date
    reason: int = 0
    document: str = ""
    check_id: str = ""


def take(connection: Connection, request: Request, *, disclosed_by: str = "", document: str = "") -> Request:
    """Keeps a new request; one that its check made before, by the same question, is found instead, as it stands now.

    Raises Refused, before it has written: IDENTITY_CHECK_INVALID when its check was used for something else.
    """
    asked = {
        "request_id": request.request_id,
        "kind": request.kind,
        "counter": request.counter,
        "subject": request.subject,
        "disclosed_by": disclosed_by,
        "document": document,
    }
    table = schema.requests
    columns = [table.c[name] for name in asked]
    before = connection.execute(select(*columns).where(table.c.request_id == request.request_id)).one_or_none()
    if before is not None and before._asdict() != asked:
        raise _used()
    require_unused(connection, request.request_id, but_for=request.request_id)
    if before is None:
        connection.execute(insert(table), {**asked, "received_on": request.received_on.isoformat()})
    return next(_read(connection, [table.c.request_id == request.request_id]))


def require_unused(connection: Connection, check_id: str, *, but_for: str) -> None:
    """Makes sure that a check served for nothing but one request, by its number.

    Raises Refused: IDENTITY_CHECK_INVALID.
    """
    taken, steps = schema.requests, schema.request_steps
    of_others = select(steps.c.request_id).where(steps.c.check_id == check_id, steps.c.request_id != but_for)
    made_another = select(taken.c.request_id).where(taken.c.request_id == check_id, taken.c.request_id != but_for)
    if connection.execute(of_others.union_all(made_another).limit(1)).first() is not None:
        raise _used()


def keep_step(connection: Connection, request: Request, step: Step) -> None:
    """Keeps a step; `request` is as it stands after it."""
    table = schema.request_steps
    last = connection.execute(select(func.max(table.c.number)).where(table.c.request_id == request.request_id)).scalar()
    connection.execute(
        insert(table),
        {
            "request_id": request.request_id,
            "number": (last or 0) + 1,
            "state": request.state,
            "day": step.day.isoformat(),
            "due_on": request.due_on.isoformat(),
            "reason": step.reason,
            "document": step.document,
            "check_id": step.check_id,
        },
    )


def find(connection: Connection, request_id: str) -> Request | None:
    """A request as it stands; None when there is none of this number."""
    return next(_read(connection, [schema.requests.c.request_id == request_id]), None)


def of_counter(connection: Connection, counter: str) -> list[Request]:
    """The requests that a counter took, oldest first."""
    return list(_read(connection, [schema.requests.c.counter == counter]))


def count_open(connection: Connection, today: date) -> tuple[int, int]:
    """Number of requests that are neither answered nor closed, and of those among them whose term has passed."""
    steps = schema.request_steps
    ended = select(steps.c.request_id).where(steps.c.state.in_(ENDS))
    waiting = list(_read(connection, [schema.requests.c.request_id.not_in(ended)]))
    return len(waiting), sum(request.is_overdue(today) for request in waiting)


def _read(connection: Connection, where: Iterable[Any]) -> Iterator[Request]:
    taken, steps = schema.requests, schema.request_steps
    rows = connection.execute(
        select(taken, steps)
        .select_from(taken.outerjoin(steps, taken.c.request_id == steps.c.request_id))
        .where(*where)
        .order_by(taken.c.received_on, taken.c.request_id, steps.c.number)
        .with_only_columns(
            *(taken.c.request_id, taken.c.kind, taken.c.counter, taken.c.subject, taken.c.received_on),
            *(steps.c.state, steps.c.day, steps.c.due_on, steps.c.reason, steps.c.check_id),
        )
    ).all()
    request: Request | None = None
    for row in rows:
        if request is None or request.request_id != row.request_id:
            if request is not None:
                yield request
            request = receive(
                row.request_id,
                row.kind,
                counter=row.counter,
                subject=row.subject,
                day=date.fromisoformat(row.received_on),
            )
        if row.state is not None:
            request = _after(request, row)
    if request is not None:
        yield request


def _after(request: Request, step: Any) -> Request:
    ended = step.state in ENDS
    return request._replace(
        state=step.state,
        due_on=date.fromisoformat(step.due_on),
        ended_on=date.fromisoformat(step.day) if ended else None,
        ended_by=step.check_id if ended else "",
        closed_as=step.reason if step.state == CLOSED else disclosure.CLOSE_REASON_UNSPECIFIED,
    )


def _used() -> Refused:
    return Refused(errors.ERROR_REASON_IDENTITY_CHECK_INVALID, detail="it was used for something else")
