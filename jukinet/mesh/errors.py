"""Refusals: every one has a reason from the catalogue in `errors.proto`, and outsiders see nothing else of it.

Rule: what leaves the node is the reason, its fixed text, paths of fields, an opaque error id, for a witness's conflict
the size of a tree and for a budget the name of its limit. Values, exception texts and the operator's detail stay
inside. gRPC would otherwise send the text of any exception to the peer, with whatever personal data stands in it.

Source: google.rpc.Status, ErrorInfo (AIP-193) and BadRequest; OWASP ASVS 5.0 16.5.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, reduce
from typing import Any, Final, NoReturn, TypeVar

import grpc
import protovalidate
from google.protobuf import any_pb2, descriptor_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet.domain.contract import is_plain

DOMAIN: Final = "jukinet"
_PREFIX: Final = "ERROR_REASON_"
_STATUS: Final = {code.value[0]: code for code in grpc.StatusCode}
# Trailers must stay under the peer's metadata limit of 8 KiB, or it sees a broken call instead of the refusal.
_MOST_VIOLATIONS: Final = 16
_M = TypeVar("_M", bound=Message)


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One broken rule of the contract: where and which, never the value."""

    field: str
    rule: str


class Refused(Exception):
    """The call was refused. Look the reason up in `docs/errors.md`.

    Args:
        reason: from the catalogue.
        field: path of the field that is wrong, such as `record.birth_date`; empty when it is not one field.
        detail: for the operator's log only; never sent, and free of personal data all the same.
        violations: broken rules of the contract, for INVALID_MESSAGE.
        size: of the tree that a witness holds, for CHECKPOINT_CONFLICT; a number, so that no words can be sent by it.
        limit: that is reached, for BUDGET_EXCEEDED: its name in the directory (`jukinet.purpose.budgets.LIMITS`).
    """

    def __init__(
        self,
        reason: errors_pb2.ErrorReason.ValueType,
        *,
        field: str = "",
        detail: str = "",
        violations: Sequence[FieldViolation] = (),
        size: int | None = None,
        limit: str = "",
    ) -> None:
        super().__init__(name_of(reason))
        self.reason = reason
        self.field = field
        self.detail = detail
        self.violations = tuple(violations)
        self.size = size
        self.limit = limit


class BrokenMessage(Refused):
    """The message breaks rules that stand in the protos (INVALID_MESSAGE).

    A handler of a stream may catch it, refuse this message in its place and read on. It never sees the message: only a
    text whose own rules hold can be asked for, to name what is refused.

    Args:
        message: that was refused.
        violations: all broken rules.
    """

    def __init__(self, message: Message, violations: Sequence[FieldViolation]) -> None:
        told = violations[:_MOST_VIOLATIONS]
        super().__init__(errors_pb2.ERROR_REASON_INVALID_MESSAGE, field=told[0].field, violations=told)
        self._message = message
        self._broken = frozenset(violation.field for violation in violations)

    def sound_text(self, path: str) -> str:
        """Gives a text of the message; empty when a rule of that very field is broken.

        Args:
            path: of a text field, such as `submission.message_id`.
        """
        return "" if path in self._broken else str(reduce(getattr, path.split("."), self._message))


def name_of(reason: errors_pb2.ErrorReason.ValueType) -> str:
    """Gives a reason's name without its prefix, such as `NOT_HOLDER`."""
    return errors_pb2.ErrorReason.Name(reason).removeprefix(_PREFIX)


@cache
def facts_of(reason: errors_pb2.ErrorReason.ValueType) -> errors_pb2.ErrorFacts:
    """Gives status code and text of a reason, from the `facts` option of the catalogue.

    Args:
        reason: from the catalogue.

    Returns:
        The facts; do not change them.
    """
    value = errors_pb2.ErrorReason.DESCRIPTOR.values_by_number[reason]
    options: descriptor_pb2.EnumValueOptions = value.GetOptions()
    return options.Extensions[errors_pb2.facts]


def code_of(reason: errors_pb2.ErrorReason.ValueType) -> grpc.StatusCode:
    """Gives the gRPC status code of a reason."""
    return _STATUS[facts_of(reason).code]


def check_message(message: Message) -> None:
    """Checks a message against the rules that stand in the protos.

    Those that are plain are known to break none, at a sixth of the time.

    Args:
        message: any message of the contract.

    Raises:
        BrokenMessage: with a violation for each broken rule.
    """
    if is_plain(message):
        return
    violations = [violation.proto for violation in protovalidate.collect_violations(message)]
    if violations:
        raise BrokenMessage(message, [FieldViolation(_path(each.field), each.rule_id) for each in violations])


def to_status(refused: Refused, error_id: str) -> status_pb2.Status:
    """Builds what a refused caller sees.

    Args:
        refused: the refusal; its detail is left out.
        error_id: opaque id that stands in the operator's log too.

    Returns:
        Status with an ErrorInfo and, where fields are wrong, a BadRequest of field paths and rule ids.
    """
    facts = facts_of(refused.reason)
    known = {} if refused.size is None else {"size": str(refused.size)}
    if refused.limit:
        known["limit"] = refused.limit
    info = error_details_pb2.ErrorInfo(
        reason=name_of(refused.reason), domain=DOMAIN, metadata={"error_id": error_id, **known}
    )
    details = [_packed(info)]
    if refused.violations or refused.field:
        bad = error_details_pb2.BadRequest()
        for violation in refused.violations or (FieldViolation(refused.field, name_of(refused.reason)),):
            bad.field_violations.add(field=violation.field, description=violation.rule)
        details.append(_packed(bad))
    return status_pb2.Status(code=facts.code, message=facts.message, details=details)


async def abort(context: "grpc.aio.ServicerContext[Any, Any]", refused: Refused, error_id: str) -> NoReturn:
    """Ends a call with a refusal.

    Raises:
        grpc.aio.AbortError: always; it ends the handler.
    """
    status = to_status(refused, error_id)
    trailing = ("grpc-status-details-bin", status.SerializeToString())
    await context.abort(_STATUS[status.code], status.message, (trailing,))


def reason_of(error: BaseException) -> errors_pb2.ErrorReason.ValueType | None:
    """Reads the reason of a refusal on the caller's side.

    Args:
        error: what the call raised.

    Returns:
        The reason, or None when the failure is not a refusal by a node (no connection, say, or a foreign server).
    """
    for info in _details(error, error_details_pb2.ErrorInfo):
        number = errors_pb2.ErrorReason.DESCRIPTOR.values_by_name.get(_PREFIX + info.reason)
        if info.domain == DOMAIN and number is not None:
            return errors_pb2.ErrorReason.ValueType(number.number)
    return None


def error_id_of(error: BaseException) -> str:
    """Reads the error id of a refusal on the caller's side; empty when there is none."""
    return next((info.metadata["error_id"] for info in _details(error, error_details_pb2.ErrorInfo)), "")


def size_of(error: BaseException) -> int | None:
    """Reads the size of the tree that a witness holds, on the caller's side; None when the refusal names none."""
    sizes = (info.metadata.get("size", "") for info in _details(error, error_details_pb2.ErrorInfo))
    return next((int(size) for size in sizes if size.isascii() and size.isdecimal()), None)


def limit_of(error: BaseException) -> str:
    """Reads the name of the limit that is reached, on the caller's side; empty when the refusal names none."""
    return next((info.metadata.get("limit", "") for info in _details(error, error_details_pb2.ErrorInfo)), "")


def violations_of(error: BaseException) -> tuple[FieldViolation, ...]:
    """Reads the broken rules of a refusal on the caller's side."""
    return tuple(
        FieldViolation(violation.field, violation.description)
        for bad in _details(error, error_details_pb2.BadRequest)
        for violation in bad.field_violations
    )


def render_markdown() -> str:
    """Renders the catalogue for `docs/errors.md`."""
    lines = [
        "# Errors",
        "",
        "A refusal is a gRPC status with a `google.rpc.ErrorInfo`: domain `jukinet`, the reason below, and an error id",
        "in its metadata, beside it `limit` for a budget and `size` for a witness's conflict. `BadRequest` names",
        "fields and rules, never values. Generated from `errors.proto`.",
        "",
        "| reason | number | gRPC status | what happened and what to do |",
        "|---|---|---|---|",
    ]
    for value in errors_pb2.ErrorReason.DESCRIPTOR.values:
        reason = errors_pb2.ErrorReason.ValueType(value.number)
        facts = facts_of(reason)
        lines.append(f"| `{name_of(reason)}` | {value.number} | `{code_of(reason).name}` | {facts.message} |")
    return "\n".join(lines) + "\n"


def _details(error: Any, kind: type[_M]) -> list[_M]:
    """Unpacks the details of one kind from a failed call; none when it carries no status of ours."""
    found: list[_M] = []
    try:
        # Duck typing: aio errors and sync errors share no base class that has these methods.
        status = rpc_status.from_call(error)
    except (AttributeError, ValueError, DecodeError):
        return found
    for packed in status.details if status else ():
        detail = kind()
        if packed.Is(kind.DESCRIPTOR) and packed.Unpack(detail):
            found.append(detail)
    return found


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _path(path: Any) -> str:
    """Writes a field path; keys of maps are values and are left out, indexes of lists are not."""
    parts = []
    for element in path.elements if path else ():
        subscript = element.subscript
        index = f"[{subscript.value}]" if subscript is not None and subscript.field == "index" else ""
        parts.append(f"{element.field_name}{index}")
    return ".".join(parts)
