"""A sealed question on real processes: refused until the law lets it, then answered and counted at once, not shown; and
where the answer was wrong, nobody but the agency sees that it hears so."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.cli.development_agencies import OPERATORS, PENSION_SERVICE
from jukinet.cli.layout import SECOND_OPERATOR
from jukinet.cli.ledger import fetch_ledger
from jukinet.cli.output import Exit
from jukinet.disclosure.usage_rows import rows_of
from jukinet.mesh.clock import today_in_japan
from tests.journeys.test_disclosure import CHIYODA, GATEWAY, Resident, find, mirrored, verify
from tests.journeys.test_editions import statutes
from tests.journeys.test_recall import command, unacknowledged
from tests.purpose.drafts import draft, draft_text

Network = Any  # the fixture's own class lives in conftest.py
ROW = "B1-77"
RECALLS = (ledger.ACTION_RECALL, ledger.ACTION_ACKNOWLEDGE_RECALL)


@pytest.fixture
def own(new_network: Callable[..., Network], tmp_path: Path) -> Iterator[Network]:
    """A mesh of its own: an approved edition cannot be taken back."""
    network = new_network(tmp_path / "network", [CHIYODA], disclosure=True)
    try:
        network.start()
        yield network
    finally:
        codes = network.stop()
    assert set(codes.values()) == {0}


async def let_seal(network: Network, folder: Path) -> None:
    """Brings into force, by two operators, an edition from today on that lets ROW be sealed for a year."""
    today = today_in_japan()
    parts: dict[str, Any] = {"name": f"{today:%Y-%m}", "first_day": today, "seals": {ROW: 12}}
    file = folder / "draft.toml"
    file.write_bytes(draft_text(**parts))
    await statutes(network, "propose", file)
    await statutes(network, "approve", draft(**parts).digest.hex(), "--as", SECOND_OPERATOR)


def first_of_next_month() -> str:
    """The first day, in Japan, until which a question of today may be sealed."""
    today = today_in_japan()
    return f"{today.year + today.month // 12}-{today.month % 12 + 1:02}-01"


async def inquire(network: Network, until: str, *question: str | Path) -> int:
    """Runs a command that asks, with `--seal-until`; gives its exit code."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "jukinet.cli", *map(str, question), "--mesh", str(network.mesh.root)),
        *("--agency", PENSION_SERVICE, "--purpose", ROW, "--case", "case-1", "--operator", OPERATORS[0]),
        *("--field", "name", "--seal-until", until),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await asyncio.wait_for(program.wait(), 60)


@pytest.mark.slow
async def test_a_question_is_sealed_once_the_law_lets_it_and_is_counted_at_once(own: Network, tmp_path: Path) -> None:
    record, until = await own.enter(CHIYODA), first_of_next_month()
    number = tmp_path / "number.txt"
    number.write_text(record.individual_number)
    people = tmp_path / "people.jsonl"
    people.write_text(json.dumps({"individual_number": record.individual_number}) + "\n")
    single = ("inquire", "--individual-number", number)
    batch = ("inquire-batch", people, "--out", tmp_path / "answers.jsonl")
    assert await inquire(own, until, *single) == Exit.FORBIDDEN

    await let_seal(own, tmp_path)
    assert await inquire(own, until, *single) == Exit.OK
    assert await inquire(own, until, *batch) == Exit.OK
    await own.inquire(own.question(record, ROW))
    asked = (ledger.ACTION_INQUIRE, ledger.ACTION_INQUIRE_BATCH)
    entries = [entry for entry in await own.ledger() if entry.action in asked]
    assert [(entry.refusal, entry.sealed_until) for entry in entries] == [
        (errors.ERROR_REASON_SEAL_NOT_ALLOWED, ""),
        (errors.ERROR_REASON_UNSPECIFIED, until),
        (errors.ERROR_REASON_UNSPECIFIED, until),
        (errors.ERROR_REASON_UNSPECIFIED, ""),
    ]

    await hear_that_they_were_wrong(own, record, tmp_path)
    await mirrored(own)
    answer = await find(own, Resident(own, record, tmp_path).request())
    usage = disclosure.Usage.FromString(answer.usage)
    assert [row["sealed_until"] for row in rows_of(usage)] == [""]
    assert [each.sealed for each in usage.ledgers] == [2]
    await fetch_ledger(own.mesh, GATEWAY, tmp_path / "ledger.jsonl")
    report = await asyncio.to_thread(verify, own, tmp_path, answer)
    assert (report.findings.first_ones, report.complete, report.rows, report.sealed) == ([], True, 1, 2)


async def hear_that_they_were_wrong(network: Network, record: Any, folder: Path) -> None:
    """The agency takes recalls of both sealed answers and of the open one; the ledger shows the open one's alone."""
    record.name.legal = "試験花代"
    await network.submit(CHIYODA, network.submission("CORRECTION_MINOR", record, was_wrong=True))
    await network.arrived(CHIYODA)
    while await unacknowledged(network, PENSION_SERVICE) < 3:
        pass
    affair = ("--purpose", ROW, "--case", "case-1", "--operator", OPERATORS[0], "--agency", PENSION_SERVICE)
    await command("recalls", "--out", str(folder / "recalls.jsonl"), "--mesh", str(network.mesh.root), *affair)
    assert await unacknowledged(network, PENSION_SERVICE) == 0
    done = [entry for entry in await network.ledger() if entry.action in RECALLS]
    assert [(entry.action, entry.sealed_until) for entry in done] == [(each, "") for each in RECALLS]
