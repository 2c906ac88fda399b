"""kill -9 at any moment, again and again, under load: what was acknowledged is there, once, in order, at every tier.

Municipalities report a nation's life and agencies ask, without a pause, while a CS, a prefecture, the center and the
gateway are killed and started again, two at a time. Then everything that the clients were told is held against what is
on disk. The clients here are the test's own; the judgement uses their acknowledgements, the nation's books and SQLite.
"""

import asyncio
import json
import sqlite3
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2_grpc import InquiryServiceStub
from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission, SubmitChangeResponse, SubmitChangesRequest
from jukinet._pb.jukinet.intake.v1.intake_pb2_grpc import IntakeServiceStub
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet._pb.jukinet.register.v1.change_pb2 import Change
from jukinet.cli.change_file import read_changes
from jukinet.cli.compare import differences
from jukinet.cli.development_agencies import BANK, PENSION_SERVICE
from jukinet.cli.init import UNBRAKED
from jukinet.cli.ledger import fetch_ledger
from jukinet.ledger.verify import verify_files
from jukinet.mesh.client import streaming
from jukinet.mesh.clock import today_in_japan
from jukinet.mesh.errors import reason_of
from jukinet.mesh.identity import Identity
from nation import Nation, write_csv

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA, OKUTAMA, YOKOSUKA = "131016", "133086", "142018"
GATEWAY = "gateway-1"
ROLES = {
    "center": ["center"],
    "prefecture": ["prefecture-130001", "prefecture-140007"],
    "municipality": [f"municipality-{code}" for code in (CHIYODA, OKUTAMA, YOKOSUKA)],
    "gateway": [GATEWAY],
}
SECONDS = 60.0
"""How long one call, one start, or catching up at the end may take on a busy machine."""
DOWN_AT_ONCE = 2

PASSING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
# Reasons with which a gateway turns a question away before it is decided.
UNDECIDED = {errors.ERROR_REASON_DRAINING, errors.ERROR_REASON_OVERLOADED, errors.ERROR_REASON_LEDGER_UNAVAILABLE}


class MunicipalSystem:
    """Reports changes in their order; sends again whatever was not answered."""

    def __init__(self, network: Network, municipality: str) -> None:
        self.network = network
        self.municipality = municipality
        self.acknowledged: list[tuple[Submission, SubmitChangeResponse]] = []
        self.repeated = 0
        self.broken_streams = 0

    async def report(self, submissions: Iterable[Submission]) -> None:
        """Returns when everything is acknowledged."""
        waiting = deque(submissions)
        while waiting:
            try:
                await self._stream(waiting)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
                if isinstance(error, grpc.aio.AioRpcError) and error.code() not in PASSING:
                    raise
                self.broken_streams += 1
                await asyncio.sleep(0.2)

    async def _stream(self, waiting: deque[Submission]) -> None:
        client = Identity("municipal-system", self.municipality)
        async with (
            self.network.channel(f"municipality-{self.municipality}", client) as channel,
            streaming(IntakeServiceStub(channel).SubmitChanges(timeout=SECONDS)) as call,
        ):
            for submission in tuple(waiting):
                await call.write(SubmitChangesRequest(submission=submission))
            await call.done_writing()
            async for answer in call:
                assert answer.message_id == waiting[0].message_id
                assert answer.WhichOneof("result") == "accepted", answer.refused.reason
                self.acknowledged.append((waiting.popleft(), answer.accepted))
                self.repeated += answer.accepted.repeated


class Agency:
    """Asks one question after another, each under an id of its own, and keeps what it is told."""

    def __init__(self, network: Network, agency: str, subjects: Sequence[Submission], random: Random) -> None:
        self.network = network
        self.agency = agency
        self.subjects = subjects
        self.random = random
        self.answers: dict[str, inquiry.InquireResponse | inquiry.VerifyIdentityResponse] = {}
        self.refusals: dict[str, errors.ErrorReason.ValueType] = {}
        self.unanswered: set[str] = set()

    async def ask(self, enough: asyncio.Event) -> None:
        """Goes on until it is enough."""
        while not enough.is_set():
            # A new channel for each attempt: an old one waits longer and longer before it dials again.
            async with self.network.channel(GATEWAY, Identity("agency", self.agency)) as channel:
                while not enough.is_set() and await self._question(InquiryServiceStub(channel)):
                    await asyncio.sleep(self.random.uniform(0, 0.02))
            await asyncio.sleep(0.2)

    async def _question(self, stub: Any) -> bool:
        """Puts one question; tells whether the gateway is there."""
        request_id = str(uuid.UUID(int=self.random.getrandbits(128)))
        record = self.random.choice(self.subjects).record
        items = self.network.four_items(record)
        context = self.network.context(self.random.choice(("B1-77.12", "B1-77.12", "B1-41")), request_id=request_id)
        try:
            if self.random.random() < 0.5:
                request: Any = inquiry.VerifyIdentityRequest(context=context, four_items=items)
                self.answers[request_id] = await stub.VerifyIdentity(request, timeout=SECONDS)
            else:
                subject = inquiry.Subject(four_items=items)
                request = inquiry.InquireRequest(context=context, subject=subject, fields=[inquiry.IDENTITY_FIELD_NAME])
                answer = self.answers[request_id] = await stub.Inquire(request, timeout=SECONDS)
                matched = answer.outcome == inquiry.INQUIRY_OUTCOME_MATCH
                assert not matched or answer.provided.record.name.legal == items.name
        except grpc.aio.AioRpcError as error:
            reason = reason_of(error)
            if reason is None or reason in UNDECIDED:
                if error.code() not in PASSING:
                    raise
                self.unanswered.add(request_id)
                return False
            self.refusals[request_id] = reason
        return True


class Life:
    """A nation that goes on living: change after change, as the municipalities file them."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._day = today_in_japan() - timedelta(days=1000)
        self.nation = Nation([CHIYODA, OKUTAMA, YOKOSUKA], count=400, seed=seed, on=self._day)
        self.residents = self._messages(self.nation.residents())

    def next_days(self) -> dict[str, list[Submission]]:
        """What happens in the next three days."""
        start, self._day = self._day + timedelta(days=1), self._day + timedelta(days=3)
        assert self._day < today_in_japan(), "the nation has lived up to today"
        return self._messages(self.nation.changes(start, self._day, intensity=120.0))

    def _messages(self, filed: Sequence[Any]) -> dict[str, list[Submission]]:
        found = {}
        for path in write_csv(self._folder / self._day.isoformat(), filed):
            found[path.stem] = [each for _, each in read_changes(path) if isinstance(each, Submission)]
        assert sum(map(len, found.values())) == len(filed)
        return found


class Killer:
    """Kills nodes at random moments of their work and starts them again."""

    def __init__(self, network: Network, random: Random) -> None:
        self.network = network
        self.random = random
        self.killed: Counter[str] = Counter()
        self._down = asyncio.Semaphore(DOWN_AT_ONCE)

    async def torment(self, role: str, times: int, done: Callable[[], int]) -> None:
        """Kills a node of a role so many times; `done` counts work that is done with the help of that role."""
        for _ in range(times):
            name = self.random.choice(ROLES[role])
            before = done()
            async with self._down:
                self.network.nodes.kill(name)
                self.killed[role] += 1
                self.network.nodes.start(name)
                if self.random.random() < 0.2:
                    # The next blow may hit it before it is up.
                    await asyncio.sleep(self.random.uniform(0, 2.0))
                    continue
                await self.network.nodes.wait_healthy([name], seconds=SECONDS)
            async with asyncio.timeout(SECONDS):
                while done() <= before:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(self.random.choice((0.0, self.random.uniform(0, 0.6))))


@asynccontextmanager
async def under_load(
    life: Life, systems: Mapping[str, MunicipalSystem], agencies: Sequence[Agency], random: Random
) -> AsyncIterator[None]:
    """Municipalities report and agencies ask for as long as the block lasts; then all that was begun is finished."""
    enough = asyncio.Event()

    async def report() -> None:
        while not enough.is_set():
            days = life.next_days()
            async with asyncio.TaskGroup() as group:
                for code, submissions in days.items():
                    group.create_task(report_in_parts(systems[code], submissions))

    async def report_in_parts(system: MunicipalSystem, submissions: Sequence[Submission]) -> None:
        waiting = deque(submissions)
        while waiting:
            await system.report([waiting.popleft() for _ in range(min(len(waiting), random.randint(1, 30)))])
            await asyncio.sleep(random.uniform(0, 0.05))

    async with asyncio.TaskGroup() as group:
        group.create_task(report())
        for agency in agencies:
            group.create_task(agency.ask(enough))
        try:
            yield
        finally:
            enough.set()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("times", [5, pytest.param(20, marks=pytest.mark.slow)])
async def test_nothing_acknowledged_is_lost_doubled_or_reordered_by_kills(
    new_network: Callable[..., Network], tmp_path: Path, times: int
) -> None:
    random = Random(times)
    network = new_network(tmp_path, [CHIYODA, OKUTAMA, YOKOSUKA], brake=UNBRAKED)
    life = Life(tmp_path / "life", seed=times)
    systems = {code: MunicipalSystem(network, code) for code in life.residents}
    subjects = [each for submissions in life.residents.values() for each in submissions]
    pension = [Agency(network, PENSION_SERVICE, subjects, Random(seed)) for seed in range(3)]
    bank = Agency(network, BANK, subjects, Random(BANK))
    agencies = [*pension, bank]
    killer = Killer(network, random)
    arrived = partial(changes_in, network.folder("center") / "register.db")
    work: dict[str, Callable[[], int]] = {
        "municipality": lambda: sum(len(system.acknowledged) for system in systems.values()),
        "prefecture": arrived,
        "center": arrived,
        "gateway": lambda: sum(len(agency.answers) for agency in pension),
    }
    async with network.nodes:
        network.nodes.start_all()
        await network.nodes.wait_healthy(seconds=SECONDS)
        await asyncio.gather(*(systems[code].report(entries) for code, entries in life.residents.items()))
        async with under_load(life, systems, agencies, random):
            async with asyncio.TaskGroup() as group:
                for role, done in work.items():
                    group.create_task(killer.torment(role, times, done))
            await network.nodes.wait_healthy(seconds=SECONDS)
        await all_arrived(network, systems)
        await fetch_ledger(network.mesh, GATEWAY, tmp_path / "ledger.jsonl")
        assert set((await network.nodes.terminate_all()).values()) == {0}
    assert killer.killed == dict.fromkeys(ROLES, times)
    broken = sum(system.broken_streams for system in systems.values())
    unanswered = sum(len(agency.unanswered) for agency in agencies)
    print(f"{dict(killer.killed)} kills, {broken} streams broken, {unanswered} questions unanswered;")
    print(f"{work['municipality']()} changes, {sum(system.repeated for system in systems.values())} answered again;")
    print(f"{work['gateway']()} answers, {sum(len(agency.refusals) for agency in agencies)} refusals")
    judge_registers(network, life.nation, systems)
    judge_ledger(network, pension, bank, tmp_path)
    judge_logs(network)
    # The kills met a network at work, or nothing was shown.
    assert broken >= times
    assert unanswered >= times


async def all_arrived(network: Network, systems: Mapping[str, MunicipalSystem]) -> None:
    """Waits until all that was acknowledged is on disk at the center."""
    async with asyncio.timeout(SECONDS):
        for code, system in systems.items():
            while (await network.status(f"municipality-{code}")).links[0].center_mark < len(system.acknowledged):
                await asyncio.sleep(0.2)


def changes_in(register: Path) -> int:
    """How many changes a register holds."""
    with closing(sqlite3.connect(f"file:{register}?mode=ro", uri=True)) as database:
        (count,) = database.execute("SELECT count(*) FROM history").fetchone()
    return int(count)


def judge_registers(network: Network, nation: Nation, systems: Mapping[str, MunicipalSystem]) -> None:
    """Holds the registers of all tiers against the acknowledgements and the nation's own books."""
    for system in systems.values():
        sequences = [answer.sequence for _, answer in system.acknowledged]
        assert sequences == list(range(1, len(sequences) + 1)), "sequences follow the order of the reports"
        assert {answer.epoch for _, answer in system.acknowledged} == {1}
    for name in (name for role in ("center", "prefecture", "municipality") for name in ROLES[role]):
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
        found = [(row["municipality"], row["epoch"], row["sequence"]) for row in history]
        assert Counter(found) == Counter(expected.keys()), f"{name}: each acknowledged change is there exactly once"
        for at, row in zip(found, history, strict=True):
            assert expected[at] == (row["resident_code"], row["version"])
        judge_versions(name, history)
        assert differences(network.mesh.config(name).database, nation.registers.of(place or "center")) == Counter()
        assert intact(network.folder(name) / "register.db")


def judge_versions(name: str, history: Sequence[Mapping[str, Any]]) -> None:
    """Each person's versions come one by one at the center; at a prefecture each municipality's own never go back.

    A prefecture may enter who moves out of it and into it again before the changes of the stay before have arrived.
    """
    last: defaultdict[tuple[str, str], int] = defaultdict(int)
    for row in history:
        whose = "" if name == "center" else row["municipality"]
        before = last[whose, Change.FromString(row["change"]).previous_resident_code or row["resident_code"]]
        assert row["version"] == before + 1 if name == "center" else row["version"] > before
        last[whose, row["resident_code"]] = row["version"]


def judge_ledger(network: Network, pension: Sequence[Agency], bank: Agency, folder: Path) -> None:
    """Holds the ledger against what the agencies were told."""
    with closing(sqlite3.connect(network.folder(GATEWAY) / "ledger.db")) as database:
        leaves = [leaf for (leaf,) in database.execute("SELECT entry FROM ledger_entries ORDER BY leaf_index")]
    entries = [ledger_pb2.Entry.FromString(leaf) for leaf in leaves]
    by_id = {entry.request_id: entry for entry in entries}
    assert len(by_id) == len(entries), "no question is on record twice"
    receipts: list[Path] = []
    agencies = [*pension, bank]
    for agency in agencies:
        for request_id, answer in agency.answers.items():
            assert by_id[request_id].result in (ledger_pb2.RESULT_PROVIDED, ledger_pb2.RESULT_NO_SINGLE_MATCH)
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
    verified = verify_files(folder / "ledger.jsonl", network.mesh.ledger_key(GATEWAY), receipts)
    assert (verified.sound, verified.entries, verified.receipts) == (True, len(entries), len(receipts))
    assert intact(network.folder(GATEWAY) / "ledger.db")


def intact(path: Path) -> bool:
    """What SQLite itself says of a file."""
    with closing(sqlite3.connect(path)) as database:
        (verdict,) = database.execute("PRAGMA integrity_check").fetchone()
    return bool(verdict == "ok")


def judge_logs(network: Network) -> None:
    """No node met anything that it had not expected."""
    for name in network.mesh.names:
        records = [json.loads(line) for line in network.log(name).splitlines()]
        assert [record for record in records if record["level"] not in ("INFO", "WARNING")] == []
