"""How a refused record of a change file is written, so that it can be corrected and submitted again as it is.

Rule: the fields stay as they are. A record that cannot be split into the fields of the header stays wrong until it is
corrected: nothing is filled up or cut off.
"""

import json
from collections.abc import Sequence

from jukinet.cli.change_columns import LineRefused
from jukinet.cli.change_file import REJECT_COLUMNS, ChangeFile, json_object
from jukinet.cli.csv_records import join, split


def reject_header(source: ChangeFile) -> str:
    """Write the first line of a reject file, with its line end; empty for JSON lines."""
    if source.header is None:
        return ""
    return join([name for name in source.header if name not in REJECT_COLUMNS], REJECT_COLUMNS) + source.line_end


def reject_record(source: ChangeFile, text: str, *, reason: str, message: str) -> str:
    """Write one record of a reject file, with its line end.

    Args:
        source: the file that the record stands in; encoding, header and line end are taken from it.
        text: the record as it was read.
        reason: name of the error reason.
        message: what is wrong and what to do, without values.
    """
    codec = source.encoding.removesuffix("-sig")
    why = (reason, message.encode(codec, "replace").decode(codec))
    line = _reject_json(text, why, codec) if source.header is None else _reject_csv(text, why, source.header)
    return line + source.line_end


def _reject_csv(text: str, why: Sequence[str], header: Sequence[str]) -> str:
    if not any(name in REJECT_COLUMNS for name in header):
        return f"{text},{join((), why)}"
    fields = split(text)
    if fields is None or len(fields) != len(header):
        return text  # It bears the reason of its first refusal, which still holds.
    kept = [value for name, value in zip(header, fields, strict=True) if name not in REJECT_COLUMNS]
    return join(kept, why)


def _reject_json(text: str, why: Sequence[str], codec: str) -> str:
    try:
        value = json_object(text)
    except LineRefused:
        return text  # There is no object to put a reason into.
    value.update(zip(REJECT_COLUMNS, why, strict=True))
    line = json.dumps(value, ensure_ascii=False)
    try:
        line.encode(codec)
    except UnicodeEncodeError:
        return json.dumps(value)  # A character written as \uXXXX that the file's encoding does not have.
    return line
