"""What a span may say: the one table of span names and their attributes, and the filter that drops all else.

Rule: a span whose name is not in `SPANS` is not exported. Of the others only the attributes that stand in their row
leave the process, and only with a value of the stated form; there are no events and no links, and the status text is
the reason of the error catalogue or nothing. Who adds an attribute adds it here, and shows here that it names no person
and no agency: resident codes (住民票コード), names, and agencies beside persons are in no form of this table. The
reason of a change (異動事由) is redacted where it stands in a person's message; here it is a kind of work, of nobody.

Source: OWASP ASVS 5.0 16.2.5; OpenTelemetry semantic conventions for gRPC.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Final

import grpc
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Status, StatusCode

from jukinet.mesh.callers import network_callers
from jukinet.mesh.redaction import contract

Form = Callable[[object], bool]
"""Tells whether a value may stand under an attribute."""


def _text(pattern: str) -> Form:
    matches = re.compile(pattern, re.ASCII).fullmatch
    return lambda value: isinstance(value, str) and matches(value) is not None


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


# A name of the contract or of a class; never words, digits alone or anything that a person wrote.
_NAME: Final = r"[A-Za-z][A-Za-z_0-9]{0,79}"
_LABELS: Final = r"[a-z][a-zA-Z0-9_.]{0,79}"

ATTRIBUTES: Final[Mapping[str, Form]] = MappingProxyType(
    {
        "jukinet.node": _text(r"[a-z][a-z-]{0,30}(/[A-Za-z0-9._-]{1,40})?"),
        "jukinet.municipality": _text(r"[0-9]{6}"),
        "jukinet.sequence": _count,
        "jukinet.reason": _text(_NAME),
        "jukinet.outcome": _text(_NAME),
        "jukinet.purpose": _text(r"B[1-6]-[0-9]{1,4}(-[0-9]{1,4}){0,2}[*]?([.][0-9]{1,4})?"),
        "rpc.system": _text("grpc"),
        "rpc.service": _text(_LABELS),
        "rpc.method": _text(_NAME),
        "rpc.grpc.status_code": _count,
        "error.reason": _text(_NAME),
    }
)

_ALWAYS: Final = ("jukinet.node", "error.reason")
_RPC: Final = (*_ALWAYS, "rpc.system", "rpc.service", "rpc.method", "rpc.grpc.status_code")
_DECISION: Final = (*_ALWAYS, "jukinet.purpose")  # what was decided stands in the call's own span

_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    # One change of a stream, from the municipal system.
    "intake.change": (*_ALWAYS, "jukinet.reason"),
    # One change on its way into the CS's register: applied, repeated, or why it was refused; by its sequence it is
    # found in the outbox while no receiver has it yet.
    "register.apply": (*_ALWAYS, "jukinet.reason", "jukinet.sequence", "jukinet.outcome"),
    # One change at the prefecture or the center: applied, repeated, or why it was parked or its batch refused.
    "link.receive": (*_ALWAYS, "jukinet.municipality", "jukinet.sequence", "jukinet.outcome"),
    "inquiry.decide": _DECISION,
    # One question on its way to the center and back; its call is shared with others.
    "inquiry.provide": _ALWAYS,
    "provision.decide": _DECISION,
    "provision.look_up": _ALWAYS,  # whether somebody was found is personal data
    "ledger.append": _ALWAYS,
}
"""What happens within a node. A commit has no span, for the changes of many traces share it: its time stands in the
metric `jukinet_commit_duration_seconds`."""

_UNTRACED: Final = frozenset(
    {
        "jukinet.witness.v1.WitnessService/AddCheckpoint",
        "jukinet.provision.v1.FrozenService/DeclareFrozen",
    }
)
"""Made again and again, for nobody's change or question; the status and the metrics of the gateway tell of it."""


_SHARED: Final = frozenset({"jukinet.provision.v1.ProvisionService/Provide"})
"""Calls that serve many traces: each question has spans of its own, below its gateway's."""


@cache
def spans() -> Mapping[str, tuple[str, ...]]:
    """Gives the allowed attributes of every span name.

    RPCs are in it by `package.Service/Method`. Streams that stay open are not: their span would last for ever, so each
    change that they carry has its own. Neither are calls that many traces share, health checks, reflection, the
    asking of witnesses and what gateways declare.
    """
    without = {rpc.removeprefix("/") for rpc in network_callers().without_deadline} | _SHARED | _UNTRACED
    rpcs = (
        f"{service.full_name}/{method.name}"
        for file in contract()
        for service in file.services_by_name.values()
        for method in service.methods
    )
    return MappingProxyType({**_PARTS, **{rpc: _RPC for rpc in rpcs if rpc not in without}})


def allowed(name: str, attributes: Mapping[str, object]) -> dict[str, object]:
    """Keeps the attributes that a span of this name may have.

    Args:
        name: of the span; must be in the table.
        attributes: by their full names.

    Returns:
        Those of the row whose values have the stated form.
    """
    return {key: attributes[key] for key in spans()[name] if key in attributes and ATTRIBUTES[key](attributes[key])}


def cleaned(span: ReadableSpan) -> ReadableSpan | None:
    """Makes the copy of an ended span that may leave the process.

    Returns:
        The copy, or None when the name is not in the table.
    """
    if span.name not in spans():
        return None
    attributes = allowed(span.name, span.attributes or {})
    code = span.status.status_code
    reason = attributes.get("error.reason") if code is StatusCode.ERROR else None
    return ReadableSpan(
        name=span.name,
        context=span.get_span_context(),
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,  # type: ignore[arg-type]  # the forms let texts and counts through, nothing else
        kind=span.kind,
        status=Status(code, str(reason) if reason else None),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


# A refusal is an answer: for its server only these codes are failures (semantic conventions, gRPC server spans).
_SERVER_FAILURES: Final = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


def is_failure(code: grpc.StatusCode, *, of_server: bool) -> bool:
    """Tells whether a status code makes a span one of an error.

    Args:
        code: with which the call, or the work within it, ended.
        of_server: True for the side that answers, False for the caller.
    """
    return code in _SERVER_FAILURES if of_server else code is not grpc.StatusCode.OK
