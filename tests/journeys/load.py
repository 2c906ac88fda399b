"""Who keeps a network busy while it is tormented: municipalities that report a nation's life, agencies that ask.

The clients are the tests' own and keep what they were told: the judges hold that against what is on disk.
"""

import asyncio
import uuid
from collections import Counter, deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import grpc

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2_grpc import InquiryServiceStub
from jukinet._pb.jukinet.intake.v1.intake_pb2 import (
    ChangeAnswer,
    Submission,
    SubmitChangeResponse,
    SubmitChangesRequest,
    SubmitChangesResponse,
)
from jukinet._pb.jukinet.intake.v1.intake_pb2_grpc import IntakeServiceStub
from jukinet.cli.change_file import read_changes
from jukinet.cli.development_agencies import BANK, PENSION_SERVICE
from jukinet.mesh.client import streaming
from jukinet.mesh.clock import today_in_japan
from jukinet.mesh.errors import reason_of
from jukinet.mesh.identity import Identity
from nation import Nation, write_csv

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA, OKUTAMA, YOKOSUKA = "131016", "133086", "142018"
MUNICIPALITIES = (CHIYODA, OKUTAMA, YOKOSUKA)
GATEWAY = "gateway-1"
SECONDS = 60.0
"""How long one call, one start, or catching up at the end may take on a busy machine."""
STREAM = 60
"""Most changes that are reported in one stream."""
_DAYS = 3000
_DAY_SECONDS = 0.5
"""How long a day lasts at first; the longer a campaign goes on, the longer, for the nation dies out in the end."""
_INTENSITY = 40.0

PASSING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
# Reasons with which a gateway turns a question away before it is decided.
UNDECIDED = {errors.ERROR_REASON_DRAINING, errors.ERROR_REASON_OVERLOADED, errors.ERROR_REASON_LEDGER_UNAVAILABLE}


class TurnedAway(Exception):
    """A change was refused for a reason that passes; it is sent again."""

    def __init__(self, reason: errors.ErrorReason.ValueType) -> None:
        super().__init__(errors.ErrorReason.Name(reason))
        self.reason = reason


async def answers_of(call: AsyncIterable[SubmitChangesResponse]) -> AsyncIterator[ChangeAnswer]:
    """The answers of a stream of changes, one by one."""
    async for response in call:
        for answer in response.answers:
            yield answer


class MunicipalSystem:
    """Reports changes in their order; sends again whatever was not answered."""

    def __init__(self, network: Network, municipality: str) -> None:
        self.network = network
        self.municipality = municipality
        self.acknowledged: list[tuple[Submission, SubmitChangeResponse]] = []
        self.repeated = 0
        self.broken_streams = 0
        self.reasons: Counter[errors.ErrorReason.ValueType] = Counter()

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
            except TurnedAway as error:
                self.reasons[error.reason] += 1
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
            async for answer in answers_of(call):
                assert answer.message_id == waiting[0].message_id
                if answer.refused.reason == errors.ERROR_REASON_STORAGE_FULL:
                    raise TurnedAway(answer.refused.reason)
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
        self.reasons: Counter[errors.ErrorReason.ValueType | None] = Counter()

    async def ask(self, enough: asyncio.Event) -> None:
        """Goes on until it is enough."""
        while not enough.is_set():
            # A new channel for each attempt: an old one waits longer and longer before it dials again.
            async with self.network.channel(GATEWAY, self.network.asking(self.agency)) as channel:
                while not enough.is_set() and await self._question(InquiryServiceStub(channel)):
                    await asyncio.sleep(self.random.uniform(0, 0.1))
            await asyncio.sleep(0.2)

    async def _question(self, stub: Any) -> bool:
        """Puts one question; tells whether the gateway is there."""
        request_id = str(uuid.UUID(int=self.random.getrandbits(128), version=4))
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
                self.reasons[reason] += 1
                return False
            self.refusals[request_id] = reason
        return True


class Life:
    """A nation that goes on living, forty times as fast as Japan: what the municipalities file from day to day.

    Args:
        folder: for the files through which the changes go.
        seed: the same seed gives the same life.
        residents: how many in the beginning, as many in each municipality.
    """

    def __init__(self, folder: Path, seed: int, residents: int = 1500) -> None:
        self._folder = folder
        self._day = today_in_japan() - timedelta(days=_DAYS)
        weights = dict.fromkeys(MUNICIPALITIES, 1.0)
        self.nation = Nation(MUNICIPALITIES, count=residents, seed=seed, on=self._day, weights=weights)
        self.residents = self._messages(self.nation.residents())

    def next_day(self) -> dict[str, list[Submission]]:
        """What happens on the next day."""
        self._day += timedelta(days=1)
        assert self._day < today_in_japan(), "the nation has lived up to today"
        return self._messages(self.nation.changes(self._day, self._day, intensity=_INTENSITY))

    @property
    def day_seconds(self) -> float:
        """How long the day lasts at least."""
        return _DAY_SECONDS * (10 - 9 * (today_in_japan() - self._day) / timedelta(days=_DAYS))

    def _messages(self, filed: Sequence[Any]) -> dict[str, list[Submission]]:
        found = {}
        for path in write_csv(self._folder / self._day.isoformat(), filed):
            found[path.stem] = [each for _, each in read_changes(path) if isinstance(each, Submission)]
        assert sum(map(len, found.values())) == len(filed)
        return found


class Clients:
    """Everybody who speaks to a network in a campaign: each municipality's system, three agencies that may ask, a bank.

    Args:
        network: to speak to.
        life: what the municipalities report; the agencies ask about those who were there in the beginning.
        seed: of what the agencies ask.
    """

    def __init__(self, network: Network, life: Life, seed: int) -> None:
        subjects = [each for submissions in life.residents.values() for each in submissions]
        self.systems = {code: MunicipalSystem(network, code) for code in life.residents}
        self.pension = [Agency(network, PENSION_SERVICE, subjects, Random(f"{seed}/{number}")) for number in range(3)]
        self.bank = Agency(network, BANK, subjects, Random(f"{seed}/{BANK}"))

    @property
    def agencies(self) -> list[Agency]:
        """All of them."""
        return [*self.pension, self.bank]

    @property
    def acknowledged(self) -> int:
        """How many changes were."""
        return sum(len(system.acknowledged) for system in self.systems.values())


@asynccontextmanager
async def under_load(
    life: Life, systems: Mapping[str, MunicipalSystem], agencies: Sequence[Agency], random: Random
) -> AsyncIterator[None]:
    """Municipalities report and agencies ask for as long as the block lasts; then all that was begun is finished."""
    enough = asyncio.Event()

    async def report() -> None:
        while not enough.is_set():
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(life.day_seconds))
                for code, submissions in life.next_day().items():
                    group.create_task(report_in_parts(systems[code], submissions))

    async def report_in_parts(system: MunicipalSystem, submissions: Sequence[Submission]) -> None:
        waiting = deque(submissions)
        while waiting:
            await system.report([waiting.popleft() for _ in range(min(len(waiting), random.randint(1, STREAM)))])
            await asyncio.sleep(random.uniform(0, 0.05))

    async with asyncio.TaskGroup() as group:
        group.create_task(report())
        for agency in agencies:
            group.create_task(agency.ask(enough))
        try:
            yield
        finally:
            enough.set()


async def all_arrived(network: Network, systems: Mapping[str, MunicipalSystem]) -> None:
    """Waits until all that was acknowledged is on disk at the center."""
    async with asyncio.timeout(SECONDS):
        for code, system in systems.items():
            while (await network.status(f"municipality-{code}")).links[0].center_mark < len(system.acknowledged):
                await asyncio.sleep(0.2)
