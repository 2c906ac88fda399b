"""A resident asks at a counter who received the record, and whoever doubts the answer counts again."""

import asyncio
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2_grpc import DisclosureServiceStub
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2_grpc import InquiryServiceStub
from jukinet._pb.jukinet.register.v1.identity_pb2 import CalendarDate
from jukinet.cli.connect import TlsOptions
from jukinet.cli.counter import Counter, open_counter
from jukinet.cli.development_agencies import PENSION_SERVICE
from jukinet.cli.ledger import fetch_ledger
from jukinet.disclosure.usage import PART_ROWS
from jukinet.disclosure.usage_rows import rows_of
from jukinet.ledger.verify.usage import verify_usage
from jukinet.ledger.verify.usage_report import UsageReport
from jukinet.mesh.clock import now, today_in_japan
from jukinet.mesh.identity import Identity
from tests.commands import jukinet

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA, GATEWAY = "131016", "gateway-1"
COUNTER = Identity("counter", CHIYODA)


class Resident:
    """Somebody, and the counter before which he stands."""

    def __init__(self, network: Network, record: Any, folder: Path) -> None:
        self.record = record
        self.file = folder / f"{record.individual_number}.txt"
        self.file.write_text(record.resident_code)
        self.counter: Counter = open_counter(network.mesh.root, CHIYODA, TlsOptions(), None)

    def check(self, affair: Any = disclosure.AFFAIR_FIND_USAGE) -> disclosure.SignedIdentityCheck:
        return self.counter.check(self.file, affair=affair, clerk="clerk 1", proof="photo-document")

    def request(self, check: disclosure.SignedIdentityCheck | None = None) -> disclosure.FindUsageRequest:
        return disclosure.FindUsageRequest(check=check or self.check(), first_day=_day(-1), last_day=_day(0))


def _day(after: int) -> CalendarDate:
    day = today_in_japan() + timedelta(days=after)
    return CalendarDate(year=day.year, month=day.month, day=day.day)


async def find(network: Network, request: Any, caller: Identity = COUNTER) -> disclosure.FindUsageResponse:
    async with network.channel("disclosure", caller) as channel:
        answer: disclosure.FindUsageResponse = await DisclosureServiceStub(channel).FindUsage(request, timeout=10)
        return answer


async def ask_batch(network: Network, record: Any, *, times: int = 1) -> str:
    """Asks about somebody in a batch, once or several times; gives the request id of its first question."""
    context = network.context()
    request = inquiry.InquireBatchRequest(
        context=context,
        subjects=[inquiry.Subject(four_items=network.four_items(record))] * times,
        fields=[inquiry.IDENTITY_FIELD_NAME, inquiry.IDENTITY_FIELD_ADDRESS],
    )
    async with network.channel(GATEWAY, Identity("agency", PENSION_SERVICE)) as channel:
        call = InquiryServiceStub(channel).InquireBatch(iter([request]), timeout=10)
        answers = [answer async for answer in call]
    assert answers
    return str(context.request_id)


async def mirrored(network: Network) -> None:
    """Waits until the disclosure node has all that the gateway's ledger has now."""
    wanted = len(await network.ledger())

    async def came() -> bool:
        mirror = (await network.status("disclosure")).mirrors[0]
        return bool(mirror.entries >= wanted and mirror.HasField("verified_at"))  # kept with its checkpoint

    await network.until(came)


def verify(network: Network, folder: Path, answer: Any, *, ledger: bool = True) -> UsageReport:
    from google.protobuf import json_format

    file = folder / "usage.json"
    file.write_text(json_format.MessageToJson(answer))
    return verify_usage(
        file,
        network.mesh.disclosure_key,
        [network.mesh.ledger_key(GATEWAY)],
        ledgers=[folder / "ledger.jsonl"] if ledger else [],
        witnesses=[network.mesh.witness_key(name).read_text().strip() for name in network.mesh.witnesses],
    )


@pytest.fixture
async def asked_about(network: Network, tmp_path: Path) -> Resident:
    """Somebody about whom an agency asked three times: alone, in a batch, and beyond its purpose."""
    record, another = await network.enter(CHIYODA), await network.enter(CHIYODA)
    await network.inquire(network.question(record))
    await ask_batch(network, record)
    with pytest.raises(grpc.aio.AioRpcError):
        await network.inquire(network.question(record, "B1-41-3"))
    await network.inquire(network.question(another))
    await mirrored(network)
    return Resident(network, record, tmp_path)


async def test_a_resident_learns_who_received_the_record_and_anybody_can_count_again(
    network: Network, asked_about: Resident, tmp_path: Path
) -> None:
    answer = await find(network, asked_about.request())
    usage = disclosure.Usage.FromString(answer.usage)
    rows = rows_of(usage)
    assert [row["function_en"] for row in rows] == ["batch", "single question"]  # the refused one gave nothing
    assert [row["items"] for row in rows] == [["NAME", "ADDRESS"], ["NAME"]]
    for row in rows:
        assert (row["recipient_ja"], row["purpose"], row["article"]) == ("日本年金機構", "B1-77.12", "30-9")
        assert row["affair_ja"]
        assert row["provider"] == "spiffe://nodes.jukinet/center"
    assert len(usage.rows) == 20
    assert len({row.ByteSize() for row in usage.rows}) == 1
    assert "開示を留保" in usage.notice
    await fetch_ledger(network.mesh, GATEWAY, tmp_path / "ledger.jsonl")
    report = await asyncio.to_thread(verify, network, tmp_path, answer)
    assert report.findings.first_ones == []
    assert report.complete
    assert report.rows == 2


async def test_an_answer_that_was_altered_does_not_verify(
    network: Network, asked_about: Resident, tmp_path: Path
) -> None:
    answer = await find(network, asked_about.request())
    usage = disclosure.Usage.FromString(answer.usage)
    left_out = disclosure.Usage.FromString(answer.usage)
    left_out.rows[0].CopyFrom(disclosure.UsageRow())
    other_token = disclosure.Usage.FromString(answer.usage)
    other_token.tokens[1].token = bytes(32)
    other_index = disclosure.Usage.FromString(answer.usage)
    other_index.rows[0].index -= 1
    await fetch_ledger(network.mesh, GATEWAY, tmp_path / "ledger.jsonl")
    for altered, found in ((left_out, "complete"), (other_token, "row"), (other_index, "proof")):
        assert altered != usage
        forged = disclosure.FindUsageResponse(usage=altered.SerializeToString(), signature=answer.signature)
        report = await asyncio.to_thread(verify, network, tmp_path, forged)
        # The signature alone gives it away; and were it the node itself that lied, the ledger would.
        assert {"signature", found} <= {finding.check for finding in report.findings.first_ones}


async def test_a_lost_answer_is_had_again_and_another_one_on_the_next_day(
    network: Network, asked_about: Resident, refused: Any
) -> None:
    check = asked_about.check()
    first = await find(network, asked_about.request(check))
    await network.inquire(network.question(asked_about.record))
    await mirrored(network)
    assert await find(network, asked_about.request(check)) == first
    with refused() as refusal:
        await find(network, asked_about.request())
    assert refusal.name == "USAGE_ASKED_TODAY"


async def test_nobody_speaks_for_a_resident_without_a_fresh_check_of_his_own(
    network: Network, asked_about: Resident, refused: Any
) -> None:
    forged = asked_about.check()
    forged.signature = bytes(64)
    for check, caller in ((forged, COUNTER), (asked_about.check(), Identity("counter", "portal"))):
        with refused() as refusal:
            await find(network, asked_about.request(check), caller)
        assert refusal.name == "IDENTITY_CHECK_INVALID"
    for caller in (
        Identity("municipal-system", CHIYODA),
        Identity("gateway", GATEWAY),
        Identity("operator", "operator"),
    ):
        with refused() as refusal:
            await find(network, asked_about.request(), caller)
        assert refusal.name == "CALLER_NOT_ALLOWED"


def test_a_clerk_prints_the_answer_and_the_resident_verifies_the_file(network: Network, tmp_path: Path) -> None:
    async def asked_twice() -> Any:
        record = await network.enter(CHIYODA)
        await network.inquire(network.question(record))
        await ask_batch(network, record)
        await mirrored(network)
        return record

    resident = Resident(network, asyncio.run(asked_twice()), tmp_path)
    out, today, began = tmp_path / "answer.json", today_in_japan(), now() - timedelta(seconds=10)
    printed = run(
        *("disclosure", "usage", str(resident.file), "--first", f"{today - timedelta(days=1)}"),
        *("--last", f"{today}", "--out", str(out), "--clerk", "7", "--proof", "two-documents"),
        *("--mesh", str(network.mesh.root), "--counter", CHIYODA, "--json"),
    )
    told = json.loads(printed)
    assert (len(told["rows"]), told["contradicted"]) == (2, [])
    assert began <= datetime.fromisoformat(told["until"]) <= now()
    assert out.stat().st_mode & 0o777 == 0o600
    asyncio.run(fetch_ledger(network.mesh, GATEWAY, tmp_path / "ledger.jsonl"))
    verified = run(
        *("ledger", "verify-usage", str(out), "--key", str(network.mesh.disclosure_key), "--json"),
        *("--ledger-key", str(network.mesh.ledger_key(GATEWAY)), "--ledger", str(tmp_path / "ledger.jsonl")),
    )
    report = json.loads(verified)
    assert (report["complete"], report["until"]) == (True, told["until"])


def test_whoever_was_asked_about_more_often_than_a_part_holds_is_told_of_all_of_it(
    network: Network, tmp_path: Path
) -> None:
    async def asked_often() -> Any:
        record = await network.enter(CHIYODA)
        for _ in range(2):
            await ask_batch(network, record, times=PART_ROWS // 2)
        await network.inquire(network.question(record))
        await mirrored(network)
        return record

    resident = Resident(network, asyncio.run(asked_often()), tmp_path)
    out, today = tmp_path / "answer.json", f"{today_in_japan()}"
    printed = run(
        *("disclosure", "usage", str(resident.file), "--first", today, "--last", today, "--out", str(out), "--json"),
        *("--clerk", "7", "--proof", "two-documents", "--mesh", str(network.mesh.root), "--counter", CHIYODA),
    )
    told = json.loads(printed)["rows"]
    assert [row["function_en"] for row in told] == ["single question", *["batch"] * PART_ROWS]
    asyncio.run(fetch_ledger(network.mesh, GATEWAY, tmp_path / "ledger.jsonl"))
    report = verify_usage(
        out,
        network.mesh.disclosure_key,
        [network.mesh.ledger_key(GATEWAY)],
        ledgers=[tmp_path / "ledger.jsonl"],
    )
    assert (report.parts, report.rows, report.complete) == (2, PART_ROWS + 1, True)


def run(*arguments: str) -> str:
    """Runs a command in this process, outside of any event loop."""
    result = jukinet(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout
