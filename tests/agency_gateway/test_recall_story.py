"""Whatever is asked, corrected, killed and put back, in any order: who was told what was wrong is told so, once."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import date
from itertools import count
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from agency_gateway import provided, recall_service, recall_store, recalls
from agency_gateway.held_back import held_back
from center_node import corrections as center_corrections
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import ACTION_ACKNOWLEDGE_RECALL, ACTION_RECALL, Entry
from jukinet._pb.jukinet.register.v1 import change_pb2
from jukinet.ledger.verify.layout import read_entry
from jukinet.mesh.clock import now
from tests.agency_gateway.office import EX_OFFICIO, Office
from tests.agency_gateway.test_seals import later
from tests.purpose.drafts import draft

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
NAME, ADDRESS = inquiry.IDENTITY_FIELD_NAME, inquiry.IDENTITY_FIELD_ADDRESS
DELETED, ENTERED = change_pb2.CHANGE_REASON_DELETION_EX_OFFICIO, change_pb2.CHANGE_REASON_ENTRY_EX_OFFICIO
FOUR_ITEMS = (NAME, inquiry.IDENTITY_FIELD_BIRTH_DATE, inquiry.IDENTITY_FIELD_SEX, ADDRESS)
ITEMS = {"name": NAME, "reading": NAME, "block": ADDRESS, "building": ADDRESS}
"""The item that each part belongs to."""
COMPARED = ("name", "block")
"""Parts that a search compares, so that a yes says them."""
ANY_ITEM = st.tuples(st.sampled_from(list(ITEMS)), st.integers(0, 1))
STEPS: dict[str, st.SearchStrategy[Any]] = {
    "ask": st.sampled_from([(NAME, ADDRESS), (NAME, ADDRESS), (ADDRESS,), ()]),
    "ask_sealed": st.sampled_from([(NAME, ADDRESS), (ADDRESS,)]),
    "ask_slowly": st.none(),
    "arrive": st.none(),
    "life": ANY_ITEM,
    "error": ANY_ITEM,
    "entered_anew": st.tuples(st.booleans(), st.booleans(), ANY_ITEM),
    "new_code": st.none(),
    "look": st.none(),
    "crash": st.sampled_from(["recall.known", "recall.noted", "one recall"]),
    "center_put_back": st.none(),
    "acknowledge": st.none(),
}
RECALLS = (ACTION_RECALL, ACTION_ACKNOWLEDGE_RECALL)
OFTEN = ("ask", "ask", "error", "error", "entered_anew", "crash")
"""Without these nothing is to be told."""


@st.composite
def stories(draw: st.DrawFn) -> list[tuple[str, Any]]:
    """Steps, and what each of them is about; as a rule something was asked, was wrong, and the gateway noticed."""
    names = draw(st.lists(st.sampled_from([*STEPS, *OFTEN]), min_size=8, max_size=16))
    return [(name, draw(STEPS[name])) for name in names]


_numbers = count(1000)


class Answer(NamedTuple):
    """What an agency was told: as of which version, and which items; a yes says what a search compares of them."""

    request_id: str
    version: int
    items: tuple[int, ...]
    yes: bool = False
    sealed: bool = False


class Crash(Exception):
    """The gateway ends here."""


class Story:
    """One resident, what became of the record, and what is to be recalled by that alone."""

    def __init__(self, network: Network) -> None:
        self.number = next(_numbers)
        self.office = Office(network, self.number)
        self.network = network
        self.versions: list[dict[str, str]] = [self.values()]
        self.answers: list[Answer] = []
        self.wrong: list[tuple[bool, tuple[int, ...], range]] = []
        """Whether to a yes, items, and in which versions they were wrong, correction by correction."""
        self.entered = 1
        """As of which version the record is the present one, and no other was deleted before it."""
        self.recalled = 1
        """From which version on nothing was deleted as entered in error."""
        self.under_way: list[tuple[Callable[[], Awaitable[str]], int]] = []
        self.moved = now()
        """When the record, or an answer that was under way, last came to something."""
        self.acknowledged: Counter[tuple[str, tuple[int, ...]]] = Counter()
        self.before = self.on_record()

    def values(self) -> dict[str, str]:
        record = self.office.records[self.number]
        name, address = record.name, record.address
        return {"name": name.legal, "reading": name.furigana, "block": address.block, "building": address.building}

    async def ask(self, items: tuple[int, ...]) -> None:
        version = len(self.versions)
        if items:
            self.answers.append(Answer(await self.office.ask(self.number, fields=items), version, items))
        else:
            self.answers.append(Answer(await self.office.verify(self.number), version, FOUR_ITEMS, yes=True))

    async def ask_sealed(self, items: tuple[int, ...]) -> None:
        asked = await self.office.ask(self.number, fields=items, sealed_until=later(6))
        self.answers.append(Answer(asked, len(self.versions), items, sealed=True))

    async def ask_slowly(self, _: None) -> None:
        self.under_way.append((await self.office.ask_slowly(self.number), len(self.versions)))

    async def arrive(self, _: None = None) -> None:
        for arrive, version in self.under_way:
            self.answers.append(Answer(await arrive(), version, (NAME, ADDRESS)))
        self.under_way.clear()
        self.moved = now()

    async def life(self, what: tuple[str, int]) -> None:
        self.change(*what, was_wrong=False)

    async def error(self, what: tuple[str, int]) -> None:
        self.change(*what, was_wrong=True)

    def change(self, item: str, value: int, *, was_wrong: bool) -> None:
        before, new = self.versions[-1][item], f"値{self.number}の{value}"
        if new == before:
            return
        if was_wrong:
            self.was_wrong(item)
        changed: dict[str, Any] = {item: new}
        self.report(EX_OFFICIO, was_wrong=was_wrong, **changed)

    def was_wrong(self, part: str) -> None:
        item = ITEMS[part]
        self.wrong.append((False, (item,), self.standing([each for each in ITEMS if ITEMS[each] == item])))
        if part in COMPARED:
            self.wrong.append((True, (item,), self.standing([part])))

    def standing(self, parts: list[str]) -> range:
        """The versions up to the last one in which these parts stood as in that."""
        first = len(self.versions)
        while first > self.recalled and all(
            self.versions[first - 2][part] == self.versions[-1][part] for part in parts
        ):
            first -= 1
        return range(first, len(self.versions) + 1)

    async def entered_anew(self, how: tuple[bool, bool, tuple[str, int]]) -> None:
        """The record is deleted and entered again, perhaps with another value; either may be said to mend an error."""
        deleted_as_wrong, entered_as_wrong, (item, value) = how
        new = f"値{self.number}の{value}"
        self.report(DELETED, was_wrong=deleted_as_wrong)
        if deleted_as_wrong:
            stood = range(self.entered, len(self.versions) + 1)
            self.wrong += [(yes, FOUR_ITEMS, stood) for yes in (False, True)]
            self.recalled = len(self.versions) + 1
        elif entered_as_wrong and new != self.versions[-1][item]:
            self.was_wrong(item)
        changed: dict[str, Any] = {item: new}
        self.report(ENTERED, was_wrong=entered_as_wrong, **changed)
        self.entered = len(self.versions)

    def report(self, reason: int, *, was_wrong: bool, **changed: Any) -> None:
        self.office.report(self.number, reason, was_wrong=was_wrong, **changed)
        self.versions.append(self.values())
        self.moved = now()

    async def new_code(self, _: None) -> None:
        code = self.network.record_of(next(_numbers)).resident_code
        old = self.office.records[self.number].resident_code
        reason = change_pb2.CHANGE_REASON_CORRECTION_RESIDENT_CODE_REQUEST
        self.report(reason, was_wrong=False, resident_code=code, previous_resident_code=old)

    async def look(self, _: None) -> None:
        await self.office.look()

    async def crash(self, where: str) -> None:
        """The gateway ends at a place, if it comes there, and starts again."""
        running = self.network.recalls
        note_one = running._note_one

        def passing(place: str) -> None:
            if place == where:
                raise Crash

        async def note_one_and_end(due: Any) -> None:
            await note_one(due)
            raise Crash

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(recalls, "passing", passing)
            if where == "one recall":
                patch.setattr(running, "_note_one", note_one_and_end)
            try:
                await running.step()
            except Crash:
                self.network.recalls = self.network.recall._recalls = self.network.new_recalls()

    async def center_put_back(self, _: None) -> None:
        """The center's history is another one, as far as the gateway can tell."""
        await self.network.writer.run(
            lambda connection: recall_store.write_place(
                connection, recall_store.read_place(connection)._replace(place=b"x" * 32)
            )
        )

    async def acknowledge(self, _: None = None) -> None:
        """Takes all that there is, and says so; nothing may be missing where the gateway says that it knows all."""
        place, as_of = b"", self.network.recalls.as_of
        while told := await self.office.told(place):
            place = told[-1].place
            self.acknowledged.update((each.request_id, tuple(each.items)) for each in told)
        if as_of is not None and as_of >= self.moved:
            assert self.acknowledged == self.due()

    def on_record(self) -> Counter[tuple[int, bool]]:
        """Recalls and acknowledgements, and which of them are held back until a seal's day."""
        with self.network.ledger_reader.connect() as connection:
            waiting = [Entry.FromString(each) for each in connection.execute(select(held_back.c.entry)).scalars()]
        found = [(each.action, False) for each in self.network.leaves()] + [(each.action, True) for each in waiting]
        return Counter((int(action), held) for action, held in found if action in RECALLS)

    def to_be_on_record(self) -> Counter[tuple[int, bool]]:
        sealed = {answer.request_id for answer in self.answers if answer.sealed}
        return Counter((action, answer in sealed) for action in RECALLS for answer, _ in self.due().elements())

    def due(self) -> Counter[tuple[str, tuple[int, ...]]]:
        """Each answer with each correction of something that was wrong in it."""
        told = (
            (answer.request_id, tuple(item for item in answer.items if item in items))
            for yes, items, versions in self.wrong
            for answer in self.answers
            if answer.version in versions and answer.yes == yes
        )
        return Counter(each for each in told if each[1])


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (center_corrections, recall_service):
        monkeypatch.setattr(module, "WAIT_SECONDS", 0.0)
    monkeypatch.setattr(provided, "RUN", 3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(steps=stories())
async def test_exactly_those_who_received_what_was_wrong_are_told_exactly_once(
    network: Network, steps: list[tuple[str, Any]]
) -> None:
    network.desk._policy.adopt(draft("2020-01", date(2020, 1, 1), seals={"B1-77": 12}))
    story = Story(network)
    async with asyncio.timeout(60):
        for step, about in steps:
            await getattr(story, step)(about)
        await story.arrive()
    await story.office.look()
    await story.acknowledge()
    assert story.acknowledged == story.due()
    assert await story.office.told() == []
    assert story.on_record() - story.before == story.to_be_on_record()
    for leaf in network.entries()[-20:]:
        read_entry(leaf)
