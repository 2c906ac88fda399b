"""A clock that is set back closes the disclosure node's own ledger until it has caught up: it stays sound."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.disclosure.acts import Acts
from jukinet.disclosure.desk import Attempt, Desk
from jukinet.disclosure.usage_desk import UsageDesk
from jukinet.disclosure.usage_store import Told, keep_told, search_now, told_for
from jukinet.ledger import store
from jukinet.ledger.export import export_database
from jukinet.ledger.newest import newest_us
from jukinet.ledger.note import Signer
from jukinet.ledger.verify import verify_files
from jukinet.mesh import clock
from jukinet.mesh.errors import Refused
from tests.disclosure.answers import APRIL, CHECK, KEY, LOOK, OTHER
from tests.disclosure.counter import COUNTER, check

Node = Any  # the fixture's own class lives in conftest.py
SIGNER = Signer("jukinet/disclosure", KEY)
REAL = clock.now


def set_back(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    monkeypatch.setattr(clock, "now", lambda: REAL() - timedelta(seconds=seconds))
    monkeypatch.setattr(clock, "now_us", lambda: int(clock.now().timestamp() * 1e6))


async def test_nothing_is_told_or_kept_by_a_clock_that_was_set_back_until_it_has_caught_up(
    node: Node,
    desk: Desk,
    usage: UsageDesk,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    await node.mirror.look()
    await usage.find(COUNTER, check(1), APRIL, 0)
    set_back(monkeypatch, 60)
    for number in (2, 3):
        with pytest.raises(Refused, match="LEDGER_UNAVAILABLE"):
            await usage.find(COUNTER, check(number, OTHER), APRIL, 0)
    assert (len(node.own_entries()), desk.acts.is_open()) == (1, False)
    state = await node.writer.run(lambda connection: store.load(connection, SIGNER))
    newest = await node.writer.run(newest_us)
    assert not Acts(writer=node.writer, signer=SIGNER, state=state, newest_us=newest).is_open()
    set_back(monkeypatch, 0)
    await usage.find(COUNTER, check(4, OTHER), APRIL, 0)
    assert (len(node.own_entries()), desk.acts.is_open()) == (2, True)
    assert [each.levelname for each in caplog.records if "newest entry of the ledger" in each.message] == [
        "ERROR",
        "INFO",
    ]
    exported, key = tmp_path / "ledger.jsonl", tmp_path / "ledger.vkey"
    key.write_text(f"{SIGNER.verifier}\n")
    with node.reader.connect() as connection, exported.open("w", encoding="utf-8", newline="\n") as file:
        export_database(connection, file)
    assert verify_files(exported, key).findings.sound


async def test_an_act_whose_entry_would_be_too_early_is_taken_back_with_it(node: Node, desk: Desk) -> None:
    await node.mirror.look()
    with node.reader.connect() as connection:
        (searched,) = search_now(connection, [LOOK])
    attempt = Attempt(desk, COUNTER, ledger_pb2.ACTION_DISCLOSE_USAGE, "")
    early = attempt.entry(refusal=errors.ERROR_REASON_USAGE_ASKED_TODAY)
    desk.acts._newest.take(early.time.ToMicroseconds() + 60_000_000)
    day, told = date(2026, 4, 30), Told(CHECK, APRIL, 1, (searched,))
    with pytest.raises(Refused, match="LEDGER_UNAVAILABLE"):
        await desk.acts.carry_out(lambda connection: keep_told(connection, bytes(32), day, told), lambda _: early)
    with node.reader.connect() as connection:
        assert (told_for(connection, bytes(32), day, CHECK, APRIL), node.own_entries()) == (None, [])
