"""Write buf/validate/validate.proto from the descriptor that the installed protovalidate package carries.

The package checks messages by the annotations of `buf.validate` but does not ship their source. Taking the text from
its own descriptor keeps the annotations that we compile equal to those that the engine understands.

Run it after an upgrade of protovalidate, then `buf format -w`; `tests/contract` compares the two.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    field_mask_pb2,
    message_factory,
    timestamp_pb2,
)
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FieldDescriptorProto
from google.protobuf.message import Message
from protovalidate._gen.buf.validate import validate_pb

TARGET = Path(__file__).parent / "buf" / "validate" / "validate.proto"
HEADER = """\
// Copyright 2023-2026 Buf Technologies, Inc.
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License in the file LICENSE beside this module.
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.
//
// Regenerated from the descriptor in the protovalidate package by regenerate.py; not the original file.
"""
_MAX_FIELD_NUMBER = 536_870_911
_OPTION_TYPES = (
    "MessageOptions",
    "FieldOptions",
    "OneofOptions",
    "EnumOptions",
    "EnumValueOptions",
    "ExtensionRangeOptions",
)


def installed_descriptor() -> descriptor_pb2.FileDescriptorProto:
    """Return the descriptor of `buf/validate/validate.proto` in the installed protovalidate package.

    Without its file options: they name packages of other languages and say nothing about the rules.
    """
    file = descriptor_pb2.FileDescriptorProto.FromString(validate_pb.desc().proto.to_binary())
    file.ClearField("options")
    return file


class Writer:
    """The text of one proto2 file, with the custom options that the file itself declares."""

    def __init__(self, file: descriptor_pb2.FileDescriptorProto) -> None:
        self.file = file
        pool = descriptor_pool.DescriptorPool()
        for module in (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2):
            pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
        pool.AddSerializedFile(file.SerializeToString())
        # Only the option classes of this pool know the extensions of the file; others keep them as unknown bytes.
        message_factory.GetMessageClassesForFiles([file.name], pool)
        self.option_classes = {
            name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"google.protobuf.{name}"))
            for name in _OPTION_TYPES
        }

    def text(self) -> str:
        """Return the whole file, unformatted."""
        return "\n".join([HEADER, *self._file()]) + "\n"

    def _file(self) -> Iterator[str]:
        yield f'syntax = "{self.file.syntax or "proto2"}";'
        yield f"package {self.file.package};"
        yield from (f'import "{name}";' for name in self.file.dependency)
        for field in self.file.extension:
            yield f"extend {field.extendee} {{ {self._field(field)} }}"
        for message in self.file.message_type:
            yield from self._message(message)
        for enum in self.file.enum_type:
            yield from self._enum(enum)

    def _message(self, message: DescriptorProto) -> Iterator[str]:
        yield f"message {message.name} {{"
        yield from (f"option {option};" for option in self._options(message.options))
        for enum in message.enum_type:
            yield from self._enum(enum)
        for nested in message.nested_type:
            yield from self._message(nested)
        opened: set[int] = set()
        for field in message.field:
            if not field.HasField("oneof_index"):
                yield self._field(field)
            elif field.oneof_index not in opened:
                opened.add(field.oneof_index)
                yield from self._oneof(message, field.oneof_index)
        yield from _reserved((r.start, r.end - 1) for r in message.reserved_range)
        yield from (f'reserved "{name}";' for name in message.reserved_name)
        for extensions in message.extension_range:
            yield f"extensions {_span(extensions.start, extensions.end - 1)}{self._bracket(extensions.options)};"
        yield "}"

    def _oneof(self, message: DescriptorProto, index: int) -> Iterator[str]:
        yield f"oneof {message.oneof_decl[index].name} {{"
        yield from (f"option {option};" for option in self._options(message.oneof_decl[index].options))
        yield from (self._field(f) for f in message.field if f.HasField("oneof_index") and f.oneof_index == index)
        yield "}"

    def _enum(self, enum: EnumDescriptorProto) -> Iterator[str]:
        yield f"enum {enum.name} {{"
        yield from (f"option {option};" for option in self._options(enum.options))
        yield from (f"{value.name} = {value.number}{self._bracket(value.options)};" for value in enum.value)
        yield from _reserved((r.start, r.end) for r in enum.reserved_range)
        yield from (f'reserved "{name}";' for name in enum.reserved_name)
        yield "}"

    def _field(self, field: FieldDescriptorProto) -> str:
        label = FieldDescriptorProto.Label.Name(field.label).removeprefix("LABEL_").lower() + " "
        kind = field.type_name or FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
        first = [f"default = {field.default_value}"] if field.HasField("default_value") else []
        in_oneof = field.HasField("oneof_index")
        return f"{'' if in_oneof else label}{kind} {field.name} = {field.number}{self._bracket(field.options, first)};"

    def _bracket(self, options: Message, first: list[str] | None = None) -> str:
        entries = [*(first or []), *self._options(options)]
        return f" [{', '.join(entries)}]" if entries else ""

    def _options(self, options: Message) -> Iterator[str]:
        known = self.option_classes[options.DESCRIPTOR.name].FromString(options.SerializeToString())
        for field, value in known.ListFields():
            name = f"({field.full_name})" if field.is_extension else field.name
            # An option's message is written field by field, for a repeated field inside it may be set entry by entry.
            parts = (
                [(f"{name}.{inner.name}", inner, v) for inner, v in value.ListFields()]
                if field.type == field.TYPE_MESSAGE and not field.is_repeated
                else [(name, field, value)]
            )
            for path, inner, content in parts:
                for one in content if inner.is_repeated else [content]:
                    yield f"{path} = {_literal(inner, one)}"


def _literal(field: Any, value: Any) -> str:
    if field.type == field.TYPE_MESSAGE:
        body = "\n".join(f"{inner.name}: {_literal(inner, v)}" for inner, v in value.ListFields())
        return "{\n" + body + "\n}"
    if field.type == field.TYPE_ENUM:
        return str(field.enum_type.values_by_number[value].name)
    if field.type == field.TYPE_BOOL:
        return "true" if value else "false"
    if field.type == field.TYPE_STRING:
        return "\n".join(_quoted(line) for line in value.splitlines(keepends=True) or [""])
    if field.type == field.TYPE_BYTES:
        return '"' + "".join(f"\\x{byte:02x}" for byte in value) + '"'
    return repr(value)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _reserved(ranges: Any) -> Iterator[str]:
    return (f"reserved {_span(start, end)};" for start, end in ranges)


def _span(start: int, end: int) -> str:
    if start == end:
        return str(start)
    return f"{start} to {'max' if end >= _MAX_FIELD_NUMBER else end}"


if __name__ == "__main__":
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(Writer(installed_descriptor()).text(), encoding="utf-8")
