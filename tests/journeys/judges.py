"""What the clients of a tormented network were told, held against what is on disk, on SQLite or PostgreSQL.

The judgement uses their acknowledgements, the nation's books and the databases themselves.
"""

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet._pb.jukinet.register.v1.change_pb2 import Change
from jukinet.cli.compare import differences
from jukinet.cli.ledger import fetch_ledger
from jukinet.ledger import schema as ledger_schema
from jukinet.ledger.verify import verify_files
from jukinet.store.engine import open_reader
from jukinet.store.schema import history as history_table
from nation import Nation
from tests.journeys.load import GATEWAY, Agency, Clients, MunicipalSystem, Network, all_arrived

_SQLITE = "sqlite:///"
Place = tuple[str, int, int]
"""Municipality, epoch and sequence number."""


def changes_in(database: str) -> int:
    """How many changes a register holds."""
    engine = open_reader(database)
    with engine.connect() as connection:
        count = connection.execute(select(func.count()).select_from(history_table)).scalar_one()
    engine.dispose()
    return int(count)


async def end_and_judge(
    network: Network, nation: Nation, clients: Clients, folder: Path, *, expected: str = ""
) -> Counter[str]:
    """Lets all that was acknowledged arrive, drains the nodes, and judges registers, ledger and logs.

    `folder` is for the ledger's file; `expected` is as in `judge_logs`. Returns what `judge_registers` does.
    """
    await all_arrived(network, clients.systems)
    await fetch_ledger(network.mesh, GATEWAY, folder / "ledger.jsonl")
    assert set((await network.nodes.terminate_all()).values()) == {0}
    verdict = judge_registers(network, nation, clients.systems)
    judge_ledger(network, clients.pension, clients.bank, folder)
    judge_logs(network, expected=expected)
    return verdict


def judge_registers(network: Network, nation: Nation, systems: Mapping[str, MunicipalSystem]) -> Counter[str]:
    """Holds the registers of all tiers against the acknowledgements and the nation's own books.

    Returns:
        How many changes were lost, doubled (or never acknowledged) and reordered, summed over the nodes.
    """
    found: Counter[str] = Counter(lost=0, doubled=0, reordered=0)
    for system in systems.values():
        sequences = [answer.sequence for _, answer in system.acknowledged]
        # Sequences follow the order of the reports.
        found["reordered"] += sum(place != sequence for place, sequence in enumerate(sequences, 1))
        assert {answer.epoch for _, answer in system.acknowledged} == {1}
    for name in network.mesh.registers:
        found += judge_register(network, name, nation, systems)
    return found


def judge_register(network: Network, name: str, nation: Nation, systems: Mapping[str, MunicipalSystem]) -> Counter[str]:
    """Holds one register against the acknowledgements: how many changes were lost, doubled and reordered."""
    place = name.partition("-")[2]
    scope = place[:2] if name.startswith("prefecture") else place
    expected = {
        (code, answer.epoch, answer.sequence): (submission.resident_code, answer.version)
        for code, system in systems.items()
        if code.startswith(scope)
        for submission, answer in system.acknowledged
    }
    history = sorted(network.rows(name, "history"), key=lambda row: row["position"])
    assert network.rows(name, "parked") == [], f"{name}: nothing is left parked"
    assert differences(network.mesh.config(name).database, nation.registers.of(place or "center")) == Counter()
    assert intact(network.mesh.config(name).database)
    return wrong_in(name, history, expected)


def wrong_in(
    name: str, history: Sequence[Mapping[str, Any]], expected: Mapping[Place, tuple[str, int]]
) -> Counter[str]:
    """Counts what was lost, doubled and reordered in a history; `expected` is resident code and version by place."""
    places = [(row["municipality"], row["epoch"], row["sequence"]) for row in history]
    swapped = sum(
        expected.get(at, (row["resident_code"], row["version"])) != (row["resident_code"], row["version"])
        for at, row in zip(places, history, strict=True)
    )
    return Counter(
        lost=(Counter(expected.keys()) - Counter(places)).total(),
        doubled=(Counter(places) - Counter(expected.keys())).total(),
        reordered=swapped + out_of_order(name, history),
    )


def out_of_order(name: str, history: Sequence[Mapping[str, Any]]) -> int:
    """Counts versions that do not come one by one at the center, or go back within a municipality's own elsewhere.

    A prefecture may enter who moves out of it and into it again before the changes of the stay before have arrived.
    """
    last: defaultdict[tuple[str, str], int] = defaultdict(int)
    wrong = 0
    for row in history:
        whose = "" if name == "center" else row["municipality"]
        before = last[whose, Change.FromString(row["change"]).previous_resident_code or row["resident_code"]]
        wrong += row["version"] != before + 1 if name == "center" else row["version"] <= before
        last[whose, row["resident_code"]] = row["version"]
    return wrong


_ANSWERED = frozenset({ledger_pb2.RESULT_PROVIDED, ledger_pb2.RESULT_NO_SINGLE_MATCH, ledger_pb2.RESULT_NOT_PROVIDED})


def judge_ledger(network: Network, pension: Sequence[Agency], bank: Agency, folder: Path) -> None:
    """Holds the ledger, as `folder/ledger.jsonl` has it and as it is on disk, against what the agencies were told."""
    database = network.mesh.config(GATEWAY).database
    engine = open_reader(database)
    with engine.connect() as connection:
        column = ledger_schema.entries.c
        leaves = list(connection.execute(select(column.entry).order_by(column.leaf_index)).scalars())
    engine.dispose()
    entries = [ledger_pb2.Entry.FromString(leaf) for leaf in leaves]
    by_id = {entry.request_id: entry for entry in entries}
    assert len(by_id) == len(entries), "no question is on record twice"
    receipts: list[Path] = []
    agencies = [*pension, bank]
    for agency in agencies:
        for request_id, answer in agency.answers.items():
            assert by_id[request_id].result in _ANSWERED
            assert leaves[answer.receipt.index] == answer.receipt.entry
            assert by_id[request_id] == entries[answer.receipt.index]
            receipts.append(folder / f"receipt-{len(receipts)}")
            receipts[-1].write_bytes(answer.receipt.SerializeToString())
        for request_id, reason in agency.refusals.items():
            assert by_id[request_id].refusal == reason
    told = {request_id for agency in agencies for request_id in (*agency.answers, *agency.refusals)}
    assert by_id.keys() - told <= {request_id for agency in agencies for request_id in agency.unanswered}
    assert all(by_id[request_id].refusal == errors.ERROR_REASON_PRIVATE_SECTOR_BANNED for request_id in bank.refusals)
    assert bank.answers == {}
    assert len(receipts) > 0
    keys = [network.mesh.witness_key(name).read_text("utf-8") for name in network.mesh.witnesses]
    verified = verify_files(folder / "ledger.jsonl", network.mesh.ledger_key(GATEWAY), receipts, witnesses=keys)
    assert (verified.findings.sound, verified.entries, verified.receipts) == (True, len(entries), len(receipts))
    assert intact(database)


def intact(database: str) -> bool:
    """What SQLite itself says of a file; a PostgreSQL server was not killed."""
    if not database.startswith(_SQLITE):
        return True
    with closing(sqlite3.connect(database.removeprefix(_SQLITE))) as connection:
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
    return bool(verdict == "ok")


def judge_logs(network: Network, *, expected: str = "") -> None:
    """No node that ran met what it had not expected; `expected` is the type of an error that was brought about."""
    for name in (each for each in network.mesh.names if network.mesh.log_path(each).exists()):
        records = [json.loads(line) for line in network.log(name).splitlines()]
        serious = [record for record in records if record["level"] not in ("INFO", "WARNING")]
        assert [record for record in serious if not expected or record.get("error_type") != expected] == []
