"""Answers of a disclosure node about two residents, made without a counter, and their check by files."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from random import Random
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf import json_format

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet.disclosure import usage_rows, usage_store
from jukinet.disclosure.usage import Period, UsageOffice
from jukinet.ledger.export import export
from jukinet.ledger.note import VerifierKey
from jukinet.ledger.verify.usage import verify_usage
from jukinet.ledger.verify.usage_report import UsageReport
from jukinet.purpose.edition import load_statute, parse_edition, program_edition
from jukinet.purpose.editions import Editions
from nation.codes import CodePool

Node = Any  # the fixture's own class lives in conftest.py
CODE, OTHER, NOBODY = (CodePool(Random(seed)).draw_resident_code() for seed in (1, 2, 3))
KEY = Ed25519PrivateKey.from_private_bytes(b"\x04" * 32)
AMENDED = (
    program_edition()
    .replace(b'name = "2019-01"', b'name = "2026-04"')
    .replace(load_statute().rows["B1-77"].label_ja.encode(), "改正された事務".encode())
)
OFFICE = UsageOffice(
    node="spiffe://nodes.jukinet/disclosure",
    token_key=b"\x09" * 32,
    key=KEY,
    editions=Editions([load_statute(), parse_edition(AMENDED)]),
    names={"spiffe://agencies.jukinet/agency/pension-service": ("日本年金機構", "Japan Pension Service")},
    provider="spiffe://nodes.jukinet/center",
)
APRIL = Period(date(2026, 4, 1), date(2026, 4, 30))
CHECK = "00000000-0000-4000-8000-000000000001"
MADE_AT = datetime(2026, 4, 24, 3, tzinfo=UTC)
LOOK = usage_store.Look("jukinet/gateway-1", contradicted=False, verified_at=0)


def us(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


def told(
    node: Node,
    code: str = CODE,
    period: Period = APRIL,
    *,
    look: usage_store.Look = LOOK,
    made_at: datetime = MADE_AT,
    first_row: int = 0,
) -> disclosure.FindUsageResponse:
    with node.reader.connect() as connection:
        searched = usage_store.search_now(connection, [look])
        return OFFICE.answer(
            connection, code, period, searched, check_id=CHECK, made_at=us(made_at), first_row=first_row
        )


def told_in_parts(node: Node, **asked: Any) -> list[disclosure.FindUsageResponse]:
    """The answer in as many parts as it takes."""
    parts: list[disclosure.FindUsageResponse] = []
    first_row: int | None = 0
    while first_row is not None:
        parts.append(told(node, first_row=first_row, **asked))
        first_row = usage_rows.next_row(disclosure.Usage.FromString(parts[-1].usage))
    return parts


def indexes(answer: disclosure.FindUsageResponse) -> list[int]:
    return [row.index for row in disclosure.Usage.FromString(answer.usage).rows if row.entry]


class Files:
    """An answer, its ledger and the keys, as files."""

    def __init__(self, folder: Path, node: Node, ledger_key: Path) -> None:
        self.answer, self.node_key, self.ledger = folder / "usage.json", folder / "node.vkey", folder / "ledger.jsonl"
        self.ledger_key = ledger_key
        self.node_key.write_text(f"{VerifierKey('jukinet/disclosure', KEY.public_key())}\n")
        self.leaves, self.witnesses = list(node.gateway.leaves), node.gateway.witnesses
        self.write_ledger(self.leaves, node.gateway._note())

    def write_ledger(self, leaves: list[bytes], note: str) -> None:
        with self.ledger.open("w", encoding="utf-8", newline="\n") as file:
            export(leaves, note, file)

    def verify(self, *parts: disclosure.FindUsageResponse, **options: Any) -> UsageReport:
        self.answer.write_text("\n".join(map(json_format.MessageToJson, parts)))
        given = {"ledger_keys": [self.ledger_key], "ledgers": [self.ledger], "witnesses": self.witnesses, **options}
        return verify_usage(self.answer, self.node_key, **given)

    def altered(self, answer: disclosure.FindUsageResponse, change: Callable[[Any], None]) -> set[str]:
        """What is found in an answer that the node itself altered, and signed."""
        usage = disclosure.Usage.FromString(answer.usage)
        change(usage)
        body = usage.SerializeToString(deterministic=True)
        lie = disclosure.FindUsageResponse(usage=body, signature=KEY.sign(b"jukinet usage v1\0" + body))
        return {finding.check for finding in self.verify(lie).findings.first_ones}
