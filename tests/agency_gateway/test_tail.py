"""A request id is good for once: in memory or on disk, whatever was rolled back, after every start."""

import contextlib
import tempfile
import uuid
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select

from agency_gateway import tail as tail_module
from agency_gateway import used_ids
from agency_gateway.appending import _TAILS, Handed, Kept, append, load, open_ledger
from agency_gateway.tail import UNDER_WAY, read_tail
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.ledger import store
from jukinet.ledger.note import Signer
from tests.agency_gateway.one_entry import AGENCY, one_entry

SIGNER = Signer("jukinet/gateway-1", Ed25519PrivateKey.generate())
LIKE = one_entry(str(uuid.uuid4()))


class Undone(Exception):
    """Rolls a transaction back."""


def request_id(number: int) -> str:
    return f"5f7d1c1e-0000-4000-8000-{number:012}"


def handed(number: int, persons: int = 1) -> Handed:
    """A message about so many persons; the id of its first entry is that of the number. About none: an act that finds
    nothing to do.
    """
    if not persons:
        return handed(number)._replace(act=lambda _: False)
    leaves = []
    for person in range(persons):
        entry = ledger_pb2.Entry()
        entry.CopyFrom(LIKE)
        entry.request_id = request_id(number) if person == 0 else str(uuid.uuid4())
        leaves.append(entry.SerializeToString(deterministic=True))
    return Handed(leaves, [b""] * persons, [b""] * persons)


class Ledger:
    """A ledger, and what a program that only knows the rule expects of it."""

    def __init__(self, folder: str) -> None:
        self.url = f"sqlite:///{folder}/gateway.db"
        self.engine: Engine | None = None
        self.used: set[int] = set()
        self.size = 0
        self.start()

    def start(self) -> None:
        """The process ends and another one begins."""
        self.close()
        self.engine = open_ledger(self.url)
        with self.engine.begin() as connection:
            assert load(connection, lambda: SIGNER) == self.size

    def close(self) -> None:
        if self.engine is not None:
            self.engine.dispose()

    def append(self, groups: list[list[tuple[int, int]]], *, undone: bool) -> None:
        """Appends groups in one transaction: of each message its id, and how many persons it is about."""
        assert self.engine is not None
        used, size = set(self.used), self.size
        with contextlib.suppress(Undone), self.engine.begin() as connection:
            for group in groups:
                told, kept = append(connection, [handed(*message) for message in group], lambda: SIGNER)
                repeated = []
                for number, persons in group:
                    repeated.append(bool(persons) and number in used)
                    used |= {number} if persons else set()
                    size += persons
                assert [one.repeated for one in kept if isinstance(one, Kept)] == repeated
                assert told == size
            if undone:
                raise Undone
            self.used, self.size = used, size

    def refusals(self) -> int:
        """Entries that say that the id was used; every other entry is in a ledger that derives itself again."""
        assert self.engine is not None
        with self.engine.begin() as connection:
            assert store.load(connection, SIGNER).frontier.size == self.size
            leaves = store.read_entries(connection, 0, self.size)
        return sum(
            ledger_pb2.Entry.FromString(leaf).refusal == errors.ERROR_REASON_REQUEST_ID_REUSED for leaf in leaves
        )

    def in_table(self) -> int:
        assert self.engine is not None
        with self.engine.connect() as connection:
            return connection.execute(select(func.count()).select_from(used_ids.used_ids)).scalar_one()

    def in_memory(self) -> int:
        assert self.engine is not None
        return len(_TAILS[self.engine]._ids)


Step = tuple[list[list[tuple[int, int]]], bool]
"""Groups of messages, each an id and how many persons it is about; and whether their transaction is rolled back."""
MESSAGES = st.tuples(st.integers(0, 40), st.integers(0, 4))
GROUPS = st.lists(st.lists(MESSAGES, min_size=1, max_size=5), min_size=1, max_size=UNDER_WAY)
STEPS = st.lists(st.one_of(st.tuples(GROUPS, st.booleans()), st.none()), min_size=1, max_size=14)


@settings(max_examples=60, deadline=None)
@given(run=st.integers(1, 12), least=st.integers(0, 12), steps=STEPS)
def test_an_id_is_new_once_and_used_ever_after(run: int, least: int, steps: list[Step | None]) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(tail_module, "RUN", run)
        patch.setattr(tail_module, "LEAST_SLICE", least)
        ledger = Ledger(folder)
        for step in steps:
            if step is None:
                ledger.start()
            else:
                ledger.append(step[0], undone=step[1])
        # Each number, once more: by what is in memory, and by what a start finds.
        for _ in range(2):
            for number in sorted(ledger.used):
                ledger.append([[(number, 1)]], undone=False)
            ledger.start()
        ledger.close()


def test_ids_are_gathered_when_there_are_many_some_with_each_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail_module, "RUN", 10)
    monkeypatch.setattr(tail_module, "LEAST_SLICE", 1)
    ledger = Ledger(str(tmp_path))
    found = []
    for end in (9, 10, 12, 14, 15, 19, 20):
        ledger.append([[(number, 1) for number in range(ledger.size, end)]], undone=False)
        found.append((ledger.in_table(), ledger.in_memory()))
    # Twice as many as the group has entries, until all ten are there and leave the memory; then the next run begins.
    assert found == [(0, 9), (2, 10), (6, 12), (10, 4), (10, 5), (10, 9), (12, 10)]
    ledger.append([[(number, 3) for number in range(19)]], undone=False)
    assert ledger.refusals() == 3 * 19
    ledger.close()


def test_a_start_amid_a_run_forgets_no_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail_module, "RUN", 10)
    monkeypatch.setattr(tail_module, "LEAST_SLICE", 1)
    ledger = Ledger(str(tmp_path))
    for end in (9, 10, 12):
        ledger.append([[(number, 1) for number in range(ledger.size, end)]], undone=False)
    assert ledger.in_table() == 6
    ledger.start()
    ledger.append([[(number, 1) for number in range(12)]], undone=False)
    assert ledger.refusals() == 12
    ledger.close()


def test_ids_of_entries_that_could_not_be_gathered_were_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail_module, "RUN", 10)
    ledger = Ledger(str(tmp_path))
    ledger.append([[(number, 1) for number in range(9)]], undone=False)

    def is_full(*_arguments: object, **_named: object) -> None:
        raise Undone

    with monkeypatch.context() as full:
        full.setattr(used_ids, "gather", is_full)
        ledger.append([[(9, 1)]], undone=False)
    assert ledger.size == 9
    ledger.append([[(9, 1)]], undone=False)
    assert (ledger.size, ledger.refusals()) == (10, 0)
    ledger.close()


def test_an_act_that_found_nothing_to_do_and_was_rolled_back_forgets_no_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail_module, "RUN", 10)
    monkeypatch.setattr(tail_module, "LEAST_SLICE", 4)
    ledger = Ledger(str(tmp_path))
    ledger.append([[(number, 1) for number in range(9)]], undone=False)
    ledger.append([[(9, 1)]], undone=False)
    for _ in range(3):
        ledger.append([[(0, 0)]], undone=True)
    ledger.append([[(number, 1) for number in range(10, 20)]], undone=False)
    ledger.append([[(number, 1) for number in range(20)]], undone=False)
    assert ledger.refusals() == 20
    ledger.close()


def test_a_start_gathers_what_an_earlier_version_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(str(tmp_path))
    ledger.append([[(number, 1) for number in range(25)]], undone=False)
    monkeypatch.setattr(tail_module, "RUN", 10)
    monkeypatch.setattr(tail_module, "_AT_ONCE", 4)
    ledger.start()
    assert ledger.in_table() == 24
    assert ledger.engine is not None
    with ledger.engine.begin() as connection:
        tail = read_tail(connection, store.load(connection, SIGNER))
        known = [used_ids.digest_of(AGENCY, request_id(number)) for number in range(26)]
        assert tail.used(connection, known) == set(known[:25])
    ledger.close()
