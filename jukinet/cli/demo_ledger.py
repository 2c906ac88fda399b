"""The demo's last word: the ledger, fetched as an auditor would and verified offline."""

import asyncio
from pathlib import Path
from typing import Final

from jukinet.cli.demo_claims import Claims
from jukinet.cli.demo_questions import Questions
from jukinet.cli.layout import Mesh
from jukinet.cli.ledger import fetch_ledger
from jukinet.ledger.verify.check import verify_files

DEAD_WITNESS: Final = "witness-3"
_QUORUM: Final = 2


async def check_ledger(mesh: Mesh, folder: Path, asked: Questions, claims: Claims) -> None:
    """Claims that the ledger holds one entry a question, that ledger and receipts verify, and who cosigned it."""
    gateway = mesh.gateways[0]
    receipts = await asyncio.to_thread(_write_receipts, folder, asked)
    await fetch_ledger(mesh, gateway, folder / "ledger.jsonl")
    keys = [mesh.witness_key(name).read_text("utf-8").strip() for name in mesh.witnesses]
    report = await asyncio.to_thread(
        verify_files, folder / "ledger.jsonl", mesh.ledger_key(gateway), receipts, witnesses=keys, quorum=_QUORUM
    )
    claims.make(
        "the ledger holds one entry for every answer and every refusal",
        report.entries == asked.asked,
        f"{report.entries} entries for {asked.asked} questions",
    )
    claims.make(
        "ledger and receipts verify offline, by a verifier that shares no code with the writer",
        report.findings.sound and report.receipts == len(receipts),
        f"root {report.root[:16]}…, {report.receipts} receipts",
    )
    claims.make(
        "two of the ledger's three witnesses cosigned its checkpoint, while the third was dead (SIGKILL)",
        report.findings.sound and len(report.witnesses) == _QUORUM,
        ", ".join(report.witnesses),
    )


def _write_receipts(folder: Path, asked: Questions) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, receipt in enumerate(asked.receipts):
        paths.append(folder / f"receipt-{number}")
        paths[-1].write_bytes(receipt.SerializeToString())
    return paths
