"""Reads the parts of an answer to "who received my data?" out of its file, and makes the whole answer of them.

1. Each part is signed by the disclosure node.
2. They are parts of one answer: beside their rows they say the same.
3. None is missing, none stands twice: together they have as many rows as each of them says, in order.
"""

import json
from collections.abc import Iterator, Sequence

from cryptography.exceptions import InvalidSignature
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2
from jukinet.ledger.verify.findings import Finding, Findings, Unsound
from jukinet.ledger.verify.notes import Key

_CONTEXT = b"jukinet usage v1\0"
_PAGE_ROWS = 20


def read_parts(content: bytes) -> list[disclosure_pb2.FindUsageResponse]:
    """The signed parts in a file: JSON objects, one after another. Raises Unsound."""
    try:
        return [json_format.Parse(each, disclosure_pb2.FindUsageResponse()) for each in _objects(content.decode())]
    except (json_format.ParseError, ValueError, RecursionError):
        raise Unsound("the answer is not what `jukinet disclosure usage` writes") from None


def join_parts(
    parts: Sequence[disclosure_pb2.FindUsageResponse], node_key: Key, findings: Findings
) -> disclosure_pb2.Usage:
    """The whole answer, with the rows of all parts but for those of padding.

    Args:
        parts: as `read_parts` gave them, in any order.
        node_key: of the disclosure node.
        findings: takes what is wrong.
    Raises:
        Unsound: a part holds no usage.
    """
    usages = sorted((_opened(part, node_key, findings) for part in parts), key=lambda usage: usage.first_row)
    whole = disclosure_pb2.Usage()
    whole.CopyFrom(usages[0])
    del whole.rows[:]
    common = {_common(usage) for usage in usages}
    if len(common) > 1:
        findings.add(Finding("parts", f"the {len(usages)} parts are of {len(common)} different answers"))
    for usage in usages:
        if len(usage.rows) % _PAGE_ROWS or not usage.rows:
            findings.add(Finding("rows", f"{len(usage.rows)} rows, padding included, are no multiple of {_PAGE_ROWS}"))
        if usage.first_row != len(whole.rows):
            findings.add(Finding("parts", f"row {len(whole.rows)} is in no part, or in two"))
        whole.rows.extend(row for row in usage.rows if row.origin or row.entry)
    # Answers of before parts have all their rows and do not say how many.
    if whole.HasField("total_rows") and len(whole.rows) != whole.total_rows:
        findings.add(Finding("parts", f"{len(whole.rows)} rows are here of {whole.total_rows}: give all parts"))
    return whole


def _opened(part: disclosure_pb2.FindUsageResponse, node_key: Key, findings: Findings) -> disclosure_pb2.Usage:
    try:
        node_key.public.verify(part.signature, _CONTEXT + part.usage)
    except InvalidSignature:
        findings.add(Finding("signature", "the answer is not signed by the given key of the disclosure node"))
    try:
        return disclosure_pb2.Usage.FromString(part.usage)
    except DecodeError:
        raise Unsound("the answer holds no usage") from None


def _common(usage: disclosure_pb2.Usage) -> bytes:
    common = disclosure_pb2.Usage()
    common.CopyFrom(usage)
    for own in ("first_row", "rows"):
        common.ClearField(own)
    return common.SerializeToString(deterministic=True)


def _objects(text: str) -> Iterator[str]:
    decoder, rest = json.JSONDecoder(), text.strip()
    if not rest:
        raise Unsound("the file of the answer is empty")
    while rest:
        _, end = decoder.raw_decode(rest)
        yield rest[:end]
        rest = rest[end:].lstrip()
