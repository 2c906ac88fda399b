"""What a question asked in full, on real processes: opened by two operators, unreadable once its key is destroyed."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import select

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.cli.layout import OPERATOR, SECOND_OPERATOR
from jukinet.cli.output import Exit
from jukinet.ledger import body, schema
from jukinet.store.engine import open_reader

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA, CENTER, GATEWAY = "131016", "center", "gateway-1"


async def jukinet(network: Network, *words: object, code: Exit = Exit.OK) -> str:
    """Runs a command as a person at a terminal does; gives all that it said."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "jukinet.cli", *map(str, words), "--mesh", str(network.mesh.root)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, told = await asyncio.wait_for(program.communicate(), 60)
    assert (program.returncode, b"Traceback" in told) == (code, False), told.decode()
    return (printed + told).decode()


def bodies_of(network: Network) -> dict[int, bytes]:
    """The sealed bodies in the gateway's database, by the index of their entries."""
    engine = open_reader(network.mesh.config(GATEWAY).database)
    try:
        with engine.connect() as connection:
            return {row.leaf_index: row.sealed for row in connection.execute(select(schema.bodies))}
    finally:
        engine.dispose()


async def test_two_operators_open_a_body_and_destroy_its_key_and_the_ledger_stays_sound(
    network: Network, tmp_path: Path
) -> None:
    record = await network.enter(CHIYODA)
    await network.arrived(CHIYODA)
    question = network.question(record)
    answer = await network.inquire(question)
    index = answer.receipt.index

    proposed = json.loads(await jukinet(network, "ledger", "open-body", index, "--as", OPERATOR))
    assert proposed["step"] == "proposed"
    assert "body" not in proposed
    again = await jukinet(network, "ledger", "open-body", index, "--as", OPERATOR, code=Exit.FORBIDDEN)
    assert "SECOND_OPERATOR_NEEDED" in again
    opened = json.loads(await jukinet(network, "ledger", "open-body", index, "--as", SECOND_OPERATOR))
    assert opened["body"]["subject"]["four_items"]["name"] == question.subject.four_items.name
    assert opened["body"]["context"]["operator"] == question.context.operator
    assert opened["body"]["outcome"] == inquiry.InquiryOutcome.Name(answer.outcome)

    code = tmp_path / "code"
    code.write_text(record.resident_code)
    for operator, step in ((OPERATOR, "proposed"), (SECOND_OPERATOR, "carried out")):
        told = await jukinet(network, "admin", "destroy-key", "--resident", code, "--as", operator)
        assert f"step: {step}" in told
    gone = await jukinet(network, "ledger", "open-body", index, code=Exit.REFUSED)
    assert "BODY_KEY_DESTROYED" in gone
    assert "BODY_KEY_DESTROYED" in await jukinet(network, "admin", "destroy-key", "--resident", code, code=Exit.REFUSED)

    kept = bodies_of(network)
    entries = await network.ledger()
    assert body.digest(kept[index]) == entries[index].body_digest
    taken = [entry for entry in entries if entry.action == ledger.ACTION_TAKE_BODY]
    assert len(taken) >= 4  # each taking, the last ones in vain, stands in the ledger
    out = tmp_path / "ledger.jsonl"
    await jukinet(network, "ledger", "fetch", "--out", out)


async def test_a_person_and_nobody_leave_bodies_of_the_same_size(network: Network) -> None:
    record = await network.enter(CHIYODA)
    await network.arrived(CHIYODA)
    found = await network.inquire(network.question(record))
    stranger = network.person(CHIYODA)
    nobody = await network.inquire(network.question(stranger))
    kept = bodies_of(network)
    assert len(kept[found.receipt.index]) == len(kept[nobody.receipt.index])


async def test_a_refusal_leaves_no_body(network: Network) -> None:
    before = len(await network.ledger())
    record = network.person(CHIYODA)
    await network.inquire(network.question(record))
    await jukinet(network, "ledger", "open-body", 10**9, code=Exit.REFUSED)
    entries = await network.ledger()
    assert entries[before].body_digest
    assert not any(entry.body_digest for entry in entries if entry.result == ledger.RESULT_REFUSED)
