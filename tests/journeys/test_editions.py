"""The law changes on real processes: proposed, approved by another, decided by from the next question on, and kept."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.statute.v1.statute_pb2 import ListEditionsRequest
from jukinet._pb.jukinet.statute.v1.statute_pb2_grpc import StatuteServiceStub
from jukinet.cli.development_agencies import PENSION_SERVICE
from jukinet.cli.layout import OPERATOR, SECOND_OPERATOR
from jukinet.cli.output import Exit
from jukinet.mesh.clock import today_in_japan
from jukinet.mesh.identity import Identity
from tests.purpose.drafts import draft, draft_text

Network = Any  # the fixture's own class lives in conftest.py
Refused = Callable[[], Any]
CHIYODA, CENTER, GATEWAY, WITNESS = "131016", "center", "gateway-1", "witness-1"
CS, PREFECTURE = "municipality-131016", "prefecture-130001"


@pytest.fixture(scope="module")
def own(new_network: Callable[..., Network], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Center, gateway and witness of a mesh of its own: an approved edition cannot be taken back."""
    network = new_network(tmp_path_factory.mktemp("editions"), [CHIYODA])
    try:
        network.start(CENTER, WITNESS, GATEWAY)
        yield network
    finally:
        codes = network.stop()
    assert set(codes.values()) == {0}


async def statutes(
    network: Network, *words: object, to: tuple[str, ...] = (CENTER, GATEWAY), code: Exit = Exit.OK
) -> str:
    """Runs `jukinet statutes …` at nodes as a person at a terminal does; gives all that it said."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "jukinet.cli", "statutes", *map(str, words)),
        *("--mesh", str(network.mesh.root), *(word for node in to for word in ("--to", node))),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, told = await asyncio.wait_for(program.communicate(), 60)
    assert (program.returncode, b"Traceback" in told) == (code, False), told.decode()
    return (printed + told).decode()


async def test_a_law_that_two_operators_brought_into_force_decides_the_next_question_and_after_a_restart(
    own: Network, refused: Refused, tmp_path: Path
) -> None:
    first_day = today_in_japan()
    name = f"{first_day:%Y-%m}"
    file = tmp_path / "draft.toml"
    file.write_bytes(draft_text(name, first_day, rows={"B1-77": None}))
    digest = draft(name, first_day, rows={"B1-77": None}).digest
    record = own.person(CHIYODA)  # whom nobody entered: an answer that finds nobody has a legal basis too
    assert (await own.inquire(own.question(record))).legal_basis.edition == "2019-01"

    await statutes(own, "propose", file)
    assert (await own.inquire(own.question(record))).legal_basis.edition == "2019-01"
    told = await statutes(own, "approve", digest.hex(), code=Exit.FORBIDDEN)
    assert told.count("SECOND_OPERATOR_NEEDED") == 2
    told = await statutes(own, "approve", bytes(32).hex(), "--as", SECOND_OPERATOR, code=Exit.REFUSED)
    assert told.count("EDITION_UNKNOWN") == 2
    assert (await own.inquire(own.question(record))).legal_basis.edition == "2019-01"

    await statutes(own, "approve", digest.hex(), "--as", SECOND_OPERATOR)
    with refused() as refusal:
        await own.inquire(own.question(record))
    assert refusal.name == "PURPOSE_UNKNOWN"
    assert (await own.inquire(own.question(record, "B1-72"))).legal_basis.edition == name

    listed = json.loads(await statutes(own, "editions", "--json"))["editions"]
    assert [(row["node"], row["edition"], row["state"], row["in_force"]) for row in listed] == [
        (CENTER, "2019-01", "of the program", False),
        (CENTER, name, "approved", True),
        (GATEWAY, "2019-01", "of the program", False),
        (GATEWAY, name, "approved", True),
    ]
    at = {node: await own.status(node) for node in (CENTER, GATEWAY)}
    assert {status.edition for status in at.values()} == {name}
    assert at[CENTER].policy_digest == at[GATEWAY].policy_digest == (await own.ledger())[-1].policy_digest
    operators = [f"spiffe://operators.jukinet/operator/{each}" for each in (OPERATOR, SECOND_OPERATOR)]
    acts = [(row["act"], row["operator"], row["edition"]) for row in own.rows(CENTER, "operator_acts")]
    assert acts == [("propose edition", operators[0], digest.hex()), ("approve edition", operators[1], digest.hex())]

    entries = await own.ledger()
    on_record = [entry.action for entry in entries if entry.edition_digest == digest]
    assert on_record == [ledger.ACTION_PROPOSE_EDITION, ledger.ACTION_APPROVE_EDITION]
    assert (entries[-2].edition, entries[-2].method, list(entries[-2].wanted)) == (name, 1, [1])
    assert entries[-1].policy_digest == entries[-2].policy_digest != entries[0].policy_digest

    await asyncio.to_thread(own.stop)
    await asyncio.to_thread(own.start, CENTER, WITNESS, GATEWAY)
    with refused() as refusal:
        await own.inquire(own.question(record))
    assert refusal.name == "PURPOSE_UNKNOWN"


async def test_only_operators_touch_the_law_and_only_where_it_decides(network: Network, refused: Refused) -> None:
    for node, caller, name in (
        (GATEWAY, Identity("agency", PENSION_SERVICE), "CALLER_NOT_ALLOWED"),
        (CENTER, Identity("gateway", GATEWAY), "CALLER_NOT_ALLOWED"),
        (CS, Identity("operator", OPERATOR), "NOT_IMPLEMENTED"),
        (PREFECTURE, Identity("operator", OPERATOR), "NOT_IMPLEMENTED"),
    ):
        async with network.channel(node, caller) as channel:
            with refused() as refusal:
                await StatuteServiceStub(channel).ListEditions(ListEditionsRequest(), timeout=10)
        assert refusal.name == name


async def test_a_node_that_refuses_keeps_no_other_from_answering(network: Network) -> None:
    told = await statutes(network, "editions", to=(CS, CENTER), code=Exit.REFUSED)
    assert "of the program, in force" in told
    assert f"{CS}: NOT_IMPLEMENTED" in told
    assert "Not done at every node" in told
