"""What of a message may be shown: everything but the fields that the contract marks as personal.

Rule 5 of the design: the option `debug_redact = true` in the protos is the one list of what must never be shown. Python's
own `str()` of a message ignores it, so nothing but this module may render one.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.message import Message

REDACTED = "[redacted]"


def redacted(message: Message) -> str:
    """Renders a message on one line with every personal field, and all below it, as `[redacted]`."""
    parts = []
    for field, value in message.ListFields():
        if _is_personal(field):
            parts.append(f"{field.name}={REDACTED}")
        elif field.is_repeated:
            shown = ", ".join(_shown(field, each) for each in _each(field, value))
            parts.append(f"{field.name}=[{shown}]")
        else:
            parts.append(f"{field.name}={_shown(field, value)}")
    return f"{message.DESCRIPTOR.name}({', '.join(parts)})"


def personal_fields(files: Iterable[FileDescriptor]) -> list[str]:
    """Lists the full names of all fields of these files that are marked as personal."""
    return [field.full_name for file in files for field in _fields(file.message_types_by_name.values()) if _is_personal(field)]


def _fields(messages: Iterable[Descriptor]) -> Iterator[FieldDescriptor]:
    for message in messages:
        yield from message.fields
        yield from _fields(message.nested_types)


@cache
def _is_personal(field: FieldDescriptor) -> bool:
    return bool(field.GetOptions().debug_redact)


def _each(field: FieldDescriptor, value: Any) -> list[Any]:
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    return [f"{key}: {item}" for key, item in value.items()] if is_map else list(value)


def _shown(field: FieldDescriptor, value: Any) -> str:
    if isinstance(value, Message):
        return redacted(value)
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if field.enum_type is not None and isinstance(value, int):
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else str(value)
    return repr(value)
