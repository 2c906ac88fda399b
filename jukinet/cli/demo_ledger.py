"""The demo's last word: the ledger, fetched as an auditor would and verified offline."""

import asyncio
from pathlib import Path

from jukinet.cli.demo_claims import Claims
from jukinet.cli.demo_questions import Questions
from jukinet.cli.layout import Mesh
from jukinet.cli.ledger import fetch_ledger
from jukinet.ledger.verify.check import verify_files


async def check_ledger(mesh: Mesh, folder: Path, asked: Questions, claims: Claims) -> None:
    """Claims that the ledger holds exactly one entry a question, and that ledger and receipts verify."""
    gateway = mesh.gateways[0]
    receipts = await asyncio.to_thread(_write_receipts, folder, asked)
    await fetch_ledger(mesh, gateway, folder / "ledger.jsonl")
    report = await asyncio.to_thread(verify_files, folder / "ledger.jsonl", mesh.ledger_key(gateway), receipts)
    claims.make(
        "the ledger holds one entry for every answer and every refusal",
        report.entries == asked.asked,
        f"{report.entries} entries for {asked.asked} questions",
    )
    claims.make(
        "ledger and receipts verify offline, by a verifier that shares no code with the writer",
        report.sound and report.receipts == len(receipts),
        f"root {report.root[:16]}…, {report.receipts} receipts",
    )


def _write_receipts(folder: Path, asked: Questions) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, receipt in enumerate(asked.receipts):
        paths.append(folder / f"receipt-{number}")
        paths[-1].write_bytes(receipt.SerializeToString())
    return paths
