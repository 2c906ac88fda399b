"""The commands and the metrics by which agencies and operators follow recalls, at a gateway in this process."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import Result

from jukinet._pb.jukinet.recall.v1.recall_pb2_grpc import add_RecallServiceServicer_to_server
from jukinet.cli.init import Plan, write_mesh
from jukinet.cli.layout import Mesh
from jukinet.cli.output import Exit
from jukinet.mesh import metrics
from jukinet.mesh.server import build_server, drain
from tests.agency_gateway.agencies import BANK, OPERATOR_KEYS, PENSION
from tests.agency_gateway.calls import GATEWAY
from tests.agency_gateway.office import Office
from tests.commands import jukinet
from tests.mesh.test_metrics import scrape, value

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
HEADER = {"format": "jukinet-recalls/1", "purpose": "B1-77.12", "agency": PENSION.uri, "gateway": GATEWAY.uri}


@pytest.fixture
async def mesh(network: Network, tmp_path: Path) -> AsyncIterator[Mesh]:
    """A mesh whose gateway is the one of this process, and tells recalls alone."""
    written = write_mesh(tmp_path / "mesh", Plan(["131016"], [GATEWAY.name]))
    config = written.config(GATEWAY.name)
    node = build_server(
        identity=config.identity,
        listen=config.listen,
        tls=config.tls,
        services=[(add_RecallServiceServicer_to_server, network.recall)],
    )
    await node.start()
    yield written
    await drain(node, grace_seconds=1)


@pytest.fixture
def take(mesh: Mesh, tmp_path: Path) -> Callable[..., Any]:
    """Runs `jukinet recalls` as an agency, into a file of that name."""
    key = tmp_path / "op-2.key"
    key.write_bytes(OPERATOR_KEYS["op-2"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key.chmod(0o600)

    async def run(name: str, *more: str, agency: str = PENSION.name, purpose: str = "B1-77.12") -> Result:
        files = ("--out", tmp_path / name, "--mesh", mesh.root, "--operator-key", key)
        affair = ("--agency", agency, "--purpose", purpose, "--case", "case-1", "--operator", "op-2")
        return await asyncio.to_thread(jukinet, "recalls", *files, *affair, "--seconds", "10", *more)

    return run


async def unacknowledged(mesh: Mesh) -> list[dict[str, Any]]:
    told = await asyncio.to_thread(jukinet, "admin", "recalls", "--mesh", mesh.root, "--node", GATEWAY.name, "--json")
    assert told.exit_code == Exit.OK, told.output
    rows: list[dict[str, Any]] = json.loads(told.stdout)["unacknowledged"]
    return rows


async def test_recalls_are_taken_into_a_file_and_acknowledged_once_and_the_same_file_goes_on(
    office: Office, mesh: Mesh, take: Callable[..., Any], tmp_path: Path
) -> None:
    asked = [await office.ask(number) for number in (1, 2)]
    office.report(1, block="9番9号")
    await office.look()
    ((open_row),) = await unacknowledged(mesh)
    assert (open_row["agency"], open_row["purpose"], open_row["recalls"]) == (PENSION.uri, "B1-77.12", 1)

    done = await take("recalls.jsonl", "--json")
    assert done.exit_code == Exit.OK, done.output
    told = json.loads(done.stdout)
    assert datetime.fromisoformat(told.pop("as_of")) == office.network.recalls.as_of
    assert told == {"recalls": 1, "position": 1}
    assert await unacknowledged(mesh) == []
    office.report(2, block="9番9号")
    await office.look()
    again = await take("recalls.jsonl")
    first, second = again.stdout.splitlines()
    assert first == f"1 recalls are new in {tmp_path / 'recalls.jsonl'}, up to position 2"
    assert second.startswith("Complete up to ")
    header, *lines = map(json.loads, (tmp_path / "recalls.jsonl").read_text("utf-8").splitlines())
    assert header == HEADER
    assert [(each["line"], each["request_id"]) for each in lines] == [*enumerate(asked, 1)]
    for line in lines:
        assert {*line} == {"line", "request_id", "answered_at", "answer_index", "items", "corrected_on", "place"}


async def test_the_operators_list_is_a_table_too(office: Office, mesh: Mesh) -> None:
    command = partial(jukinet, "admin", "recalls", "--mesh", mesh.root, "--node", GATEWAY.name)
    assert (await asyncio.to_thread(command)).stdout.splitlines()[-1].startswith("Not complete: ")
    await office.ask(1)
    office.report(1, block="9番9号")
    await office.look()
    head, row, how_far = (await asyncio.to_thread(command)).stdout.splitlines()
    assert head.split() == ["agency", "purpose", "recalls", "since"]
    assert row.split()[:3] == [PENSION.uri, "B1-77.12", "1"]
    assert how_far.startswith("Complete up to ")


async def test_a_file_of_something_else_is_not_written_and_who_may_not_ask_gets_none(
    office: Office, take: Callable[..., Any], tmp_path: Path
) -> None:
    assert (await take("mine.jsonl")).exit_code == Exit.OK
    before = (tmp_path / "mine.jsonl").read_bytes()
    assert (await take("mine.jsonl", purpose="B1-77.2")).exit_code == Exit.USAGE
    assert (tmp_path / "mine.jsonl").read_bytes() == before
    refused = await take("bank.jsonl", agency=BANK.name)
    assert (refused.exit_code, refused.stderr.partition(":")[0]) == (Exit.FORBIDDEN, "PRIVATE_SECTOR_BANNED")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"gateway": "spiffe://nodes.jukinet/gateway/gateway-2"}, "was begun otherwise, by its gateway."),
        ({"agency": BANK.uri}, "was begun otherwise, by its agency."),
        ({"gateway": None, "agency": None}, "does not say its agency, gateway:"),
    ],
)
async def test_with_a_file_of_another_gateway_or_agency_nothing_is_acknowledged(
    office: Office, mesh: Mesh, take: Callable[..., Any], tmp_path: Path, changed: dict[str, str], told: str
) -> None:
    assert (await take("mine.jsonl")).exit_code == Exit.OK
    await office.ask(1)
    office.report(1, block="9番9号")
    await office.look()
    header = {name: value for name, value in {**HEADER, **changed}.items() if value}
    write(tmp_path / "other.jsonl", header, {"line": 1, "place": "AAAA"})
    refused = await take("other.jsonl")
    assert refused.exit_code == Exit.USAGE
    assert refused.stderr.startswith(f"{tmp_path / 'other.jsonl'} {told}")
    ((row),) = await unacknowledged(mesh)
    assert row["recalls"] == 1


async def test_what_this_gateway_did_not_tell_is_not_acknowledged_whatever_the_file_says(
    office: Office, mesh: Mesh, take: Callable[..., Any], tmp_path: Path
) -> None:
    await office.ask(1)
    office.report(1, block="9番9号")
    await office.look()
    write(tmp_path / "told.jsonl", HEADER, {"line": 1, "place": base64.b64encode(bytes(24)).decode()})
    refused = await take("told.jsonl")
    assert (refused.exit_code, refused.stderr.partition(":")[0]) == (Exit.USAGE, "RECALL_POSITION")
    assert "name the gateway that told them" in refused.stderr
    assert refused.stderr.endswith("\nWhat came is kept.\n")
    for line in ({"line": 1}, {"line": 1, "place": "?"}, {"line": 1, "place": ""}, {"line": 1, "place": 1}):
        write(tmp_path / "unsaid.jsonl", HEADER, line)
        refused = await take("unsaid.jsonl")
        assert refused.exit_code == Exit.USAGE
        assert "does not say what its last recall is acknowledged by" in refused.stderr
    ((row),) = await unacknowledged(mesh)
    assert row["recalls"] == 1


def write(file: Path, *lines: dict[str, Any]) -> None:
    file.write_text("".join(f"{json.dumps(each)}\n" for each in lines), "utf-8")


async def test_metrics_say_how_many_recalls_wait_for_agencies_and_since_when(office: Office) -> None:
    served = metrics.configure("127.0.0.1:0")
    assert served is not None
    try:
        await office.ask(1)
        office.report(1, block="9番9号")
        await office.look()
        showing = asyncio.ensure_future(office.network.recalls.show())
        async with asyncio.timeout(20):
            while "\njukinet_recalls_open " not in (text := await asyncio.to_thread(scrape, served)):
                pass
        showing.cancel()
        assert value(text, "jukinet_recalls_open") == 1
        assert value(text, "jukinet_recall_unacknowledged_age_seconds") > 0
        assert value(text, "jukinet_recall_behind_seconds") >= 0
    finally:
        metrics.shutdown()
