"""A resident's requests: to see the own record, to have it corrected. Which step may follow which, and by when.

Rules:

1. A request for the record is answered within 30 days, the day on which it was taken not counted. The term can be
   extended, any number of times, each time before it has passed, to a later day, with the reason in a letter.
2. A correction can be asked for once the record was disclosed, to the same resident. It is investigated, and then
   answered in writing. The Act sets it no number of days; after 30 the node shows an alarm.
3. What is open can be closed at any time, for a reason: the resident withdrew it (取下げ), it was answered in a
   letter, the resident died, or it cannot be answered otherwise. A correction that is answered in a letter is not
   closed: it has a step for that.
4. What was answered or closed stays so. A request belongs to the counter that took it.

Pure: days come in, and nothing else of the world.
Source: Basic Resident Registration Act art. 30-32 to 30-35; Civil Code art. 140 (the first day is not counted).
"""

from datetime import date, timedelta
from typing import Final, NamedTuple

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.mesh.errors import Refused

TERM: Final = timedelta(days=30)

State = disclosure.RequestState
RECEIVED, EXTENDED = disclosure.REQUEST_STATE_RECEIVED, disclosure.REQUEST_STATE_EXTENDED
INVESTIGATED, ANSWERED = disclosure.REQUEST_STATE_INVESTIGATED, disclosure.REQUEST_STATE_ANSWERED
CLOSED = disclosure.REQUEST_STATE_CLOSED
ENDS: Final = (ANSWERED, CLOSED)
"""The states that no step follows and no term runs in."""
RECORD, CORRECTION = disclosure.REQUEST_KIND_RECORD, disclosure.REQUEST_KIND_CORRECTION
BY_LETTER: Final = disclosure.CLOSE_REASON_ANSWERED_BY_LETTER

_NEXT: Final = {
    RECORD: {RECEIVED: {EXTENDED, ANSWERED, CLOSED}, EXTENDED: {EXTENDED, ANSWERED, CLOSED}},
    CORRECTION: {RECEIVED: {INVESTIGATED, CLOSED}, INVESTIGATED: {ANSWERED, CLOSED}},
}
"""By kind and state: the states that may follow; none after an end."""


class Request(NamedTuple):
    """A request as it stands after its steps so far."""

    request_id: str
    kind: "disclosure.RequestKind.ValueType"
    counter: str
    """SPIFFE ID of the counter that took it."""
    subject: bytes
    """Keyed digest of the resident code."""
    state: "disclosure.RequestState.ValueType"
    received_on: date
    due_on: date
    ended_on: date | None = None
    ended_by: str = ""
    """Id of the check of identity with which the record was disclosed, or the request withdrawn; empty without one."""
    closed_as: "disclosure.CloseReason.ValueType" = disclosure.CLOSE_REASON_UNSPECIFIED

    def is_overdue(self, today: date) -> bool:
        """Whether the term has passed, and it was neither answered nor closed."""
        return self.state not in ENDS and today > self.due_on

    def status(self, today: date) -> disclosure.RequestStatus:
        """What a counter sees of it."""
        return disclosure.RequestStatus(
            request_id=self.request_id,
            kind=self.kind,
            state=self.state,
            received_on=self.received_on.isoformat(),
            due_on=self.due_on.isoformat(),
            overdue=self.is_overdue(today),
            answered_on=self.ended_on.isoformat() if self.ended_on and self.state == ANSWERED else "",
            closed_on=self.ended_on.isoformat() if self.ended_on and self.state == CLOSED else "",
            close_reason=self.closed_as,
        )


def receive(
    request_id: str, kind: "disclosure.RequestKind.ValueType", *, counter: str, subject: bytes, day: date
) -> Request:
    """A new request, taken on a day in Japan."""
    return Request(request_id, kind, counter, subject, RECEIVED, day, day + TERM)


def extend(request: Request, *, day: date, due_on: date) -> Request:
    """The request with a longer term. Raises Refused: DISCLOSURE_STEP."""
    after = _step(request, EXTENDED)
    if day > request.due_on or due_on <= request.due_on:
        raise _refused("the term has passed already, or the new one is not longer")
    return after._replace(due_on=due_on)


def investigate(request: Request) -> Request:
    """The correction, being investigated. Raises Refused: DISCLOSURE_STEP."""
    return _step(request, INVESTIGATED)


def disclose(request: Request, *, day: date, check_id: str) -> Request:
    """The request, answered by disclosing the record; the same check finds it answered. Late answers count as well.

    Raises Refused: DISCLOSURE_STEP.
    """
    if request.kind != RECORD:
        raise _refused("it is not a request for the record")
    if (request.state, request.ended_by) == (ANSWERED, check_id):
        return request
    return _step(request, ANSWERED)._replace(ended_on=day, ended_by=check_id)


def answer_correction(request: Request, *, day: date) -> Request:
    """The correction, answered in writing. Raises Refused: DISCLOSURE_STEP."""
    if request.kind != CORRECTION:
        raise _refused("it is no correction")
    return _step(request, ANSWERED)._replace(ended_on=day)


def close(request: Request, *, day: date, reason: "disclosure.CloseReason.ValueType", check_id: str = "") -> Request:
    """The request, ended without an answer through the node, in its term or after; the same check finds it withdrawn.

    Args:
        request: that is open.
        day: on which it is closed.
        reason: why.
        check_id: of the check of the resident who withdraws it; empty where a letter or file shows the reason.
    Raises Refused: DISCLOSURE_STEP.
    """
    if check_id and (request.state, request.ended_by) == (CLOSED, check_id):
        return request
    if reason == BY_LETTER and request.kind == CORRECTION:
        raise _refused("a correction is answered in a letter by its own step")
    return _step(request, CLOSED)._replace(ended_on=day, ended_by=check_id, closed_as=reason)


def require_disclosed(request: Request) -> None:
    """Makes sure that the record was disclosed, so that it can be said to be wrong. Raises Refused: DISCLOSURE_STEP."""
    if request.kind != RECORD or (request.state != ANSWERED and request.closed_as != BY_LETTER):
        raise _refused("nothing was disclosed by it")


def require_of(request: Request | None, *, counter: str, subject: bytes | None = None) -> Request:
    """The request, if it is this counter's and, where somebody was checked, this resident's.

    Raises Refused: DISCLOSURE_STEP, the same for one that is not there and one that is another's.
    """
    if request is None or request.counter != counter or (subject is not None and request.subject != subject):
        raise _refused("no such request of this counter and resident")
    return request


def _step(request: Request, state: "disclosure.RequestState.ValueType") -> Request:
    if state not in _NEXT[request.kind].get(request.state, ()):
        raise _refused(f"{State.Name(request.state)} is not followed by {State.Name(state)}")
    return request._replace(state=state)


def _refused(why: str) -> Refused:
    return Refused(errors.ERROR_REASON_DISCLOSURE_STEP, detail=why)
