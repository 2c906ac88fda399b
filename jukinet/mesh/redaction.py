"""What must never be shown: the protos' fields with `debug_redact`, and the one way in which a message may be shown.

Rule: a field that carries `debug_redact = true`, and all below it, appears as `[redacted]` in everything that a person
or a collector reads. It appears so whether it is set or not, for that a match was found is itself personal data
(本人確認情報): `verified` would give itself away by being there. Bytes are shown by their length alone, because they
may be a serialised message of any kind.

Source: Basic Resident Registration Act art. 30-26 (secrecy); `google.protobuf.FieldOptions.debug_redact`.
"""

import importlib
import json
import pkgutil
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final

from google.protobuf import descriptor_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from jukinet import _pb

REDACTED: Final = "[redacted]"
_LONGEST: Final = 2_000  # characters; a log line is read by people
_MOST_ELEMENTS: Final = 8  # of one repeated field


def redacted(message: Message) -> str:
    """Writes a message as short text for logs, on one line, without personal data.

    Args:
        message: any message; the rule is read from its own descriptor.

    Returns:
        At most 2,000 characters; control characters are escaped.
    """
    text = _text(message)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


@cache
def contract() -> tuple[FileDescriptor, ...]:
    """Gives the descriptors of all protos of the network, in the order of their names."""
    root = f"{_pb.__name__}.jukinet"
    package = importlib.import_module(root)
    found = (
        importlib.import_module(module.name).DESCRIPTOR
        for module in pkgutil.walk_packages(package.__path__, f"{root}.")
        if module.name.endswith("_pb2")
    )
    return tuple(sorted(found, key=lambda file: str(file.name)))


@cache
def personal_fields() -> list[str]:
    """Lists the full names of all fields that carry `debug_redact`, such as `jukinet.inquiry.v1.FourItems.name`."""
    messages = (message for file in contract() for message in _messages(file.message_types_by_name.values()))
    return sorted(field.full_name for message in messages for field in message.fields if is_personal(field))


def is_personal(field: FieldDescriptor) -> bool:
    """Tells whether a field carries `debug_redact`."""
    options: descriptor_pb2.FieldOptions = field.GetOptions()
    return options.debug_redact


def _messages(found: Iterable[Descriptor]) -> Iterator[Descriptor]:
    for message in found:
        yield message
        yield from _messages(message.nested_types)


@cache
def _plan(descriptor: Descriptor) -> tuple[tuple[FieldDescriptor, bool], ...]:
    return tuple((field, is_personal(field)) for field in sorted(descriptor.fields, key=lambda field: field.number))


def _text(message: Message) -> str:
    if isinstance(message, Timestamp):
        return message.ToJsonString() if _is_a_time(message) else "[no time]"
    if isinstance(message, AnyMessage):
        return f"Any{{{json.dumps(message.type_url)}}}"
    present = {field.number: value for field, value in message.ListFields()}
    parts = []
    for field, personal in _plan(message.DESCRIPTOR):
        if personal:
            parts.append(f"{field.name}: {REDACTED}")
        elif field.number in present:
            parts.append(f"{field.name}: {_value(field, present[field.number])}")
    return f"{message.DESCRIPTOR.name}{{{', '.join(parts)}}}"


def _is_a_time(message: Timestamp) -> bool:
    # Years 1 to 9999; anything else makes ToJsonString raise.
    return -62_135_596_800 <= message.seconds <= 253_402_300_799 and 0 <= message.nanos < 1_000_000_000


def _value(field: FieldDescriptor, value: object) -> str:
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        # `value` is a live map; a message under a key is shown by the same rules.
        key_field, value_field = entry.fields_by_name["key"], entry.fields_by_name["value"]
        items = list(value.items())  # type: ignore[attr-defined]  # a map has items
        shown = [f"{_one(key_field, key)}: {_one(value_field, each)}" for key, each in items[:_MOST_ELEMENTS]]
        return f"{{{', '.join(shown)}{_more(len(items))}}}"
    if field.is_repeated:
        elements = list(value)  # type: ignore[call-overload]  # repeated: a sequence
        return f"[{', '.join(_one(field, each) for each in elements[:_MOST_ELEMENTS])}{_more(len(elements))}]"
    return _one(field, value)


def _more(count: int) -> str:
    return f", … {count} in all" if count > _MOST_ELEMENTS else ""


def _one(field: FieldDescriptor, value: object) -> str:
    if isinstance(value, Message):
        return _text(value)
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, str):
        return json.dumps(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(int(value))  # type: ignore[call-overload]  # an enum's number
        return str(known.name) if known else str(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
