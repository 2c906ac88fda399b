"""A clock that is set back closes the ledger until it has caught up: it stays one that verifies."""

import io
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from agency_gateway import desk as desk_module
from agency_gateway import record as record_module
from agency_gateway.appending import load
from agency_gateway.record import Record
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.ledger import newest as newest_module
from jukinet.ledger import store
from jukinet.ledger.export import export_database
from jukinet.ledger.newest import newest_us
from jukinet.ledger.verify import verify_files
from jukinet.ledger.verify.check import SKEW_TOLERANCE_SECONDS
from jukinet.mesh.clock import now, now_us
from tests.agency_gateway.one_entry import one_entry

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
SetClock = Callable[[float], None]
UNAVAILABLE = errors.ERROR_REASON_LEDGER_UNAVAILABLE
SECOND = 1_000_000


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Sets the gateway's clock so many seconds ahead of the true one."""

    def ahead(seconds: float) -> None:
        monkeypatch.setattr(desk_module, "now", lambda: now() + timedelta(seconds=seconds))
        monkeypatch.setattr(record_module, "now_us", lambda: now_us() + int(seconds * SECOND))

    return ahead


def is_sound(engine: Engine, signer: Any, folder: Path) -> bool:
    """Whether the ledger verifies as an auditor verifies it."""
    exported, ledger, key = io.StringIO(), folder / "exported.jsonl", folder / "exported.vkey"
    with engine.connect() as connection:
        export_database(connection, exported)
    ledger.write_text(exported.getvalue(), encoding="utf-8")
    key.write_text(str(signer.verifier), encoding="utf-8")
    return verify_files(ledger, key).findings.sound


async def test_nothing_is_put_on_record_by_a_clock_that_was_set_back_until_it_has_caught_up(
    network: Network, set_clock: SetClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network.enter(network.record_of(1))
    set_clock(60)
    await network.inquire()
    set_clock(0)
    network.reads.clear()
    assert [await network.refusal_of(network.inquire()) for _ in range(3)] == [UNAVAILABLE] * 3
    assert (network.reads, len(network.leaves()), network.record.is_open()) == ([], 1, False)
    (line,) = [each for each in caplog.records if "clock is behind" in each.message]
    assert line.seconds == pytest.approx(60, abs=10)  # type: ignore[attr-defined]  # of `extra`
    set_clock(61)
    await network.inquire()
    assert (len(network.leaves()), network.record.is_open()) == (2, True)
    assert is_sound(network.ledger_engine, network.signer, tmp_path)


async def test_a_clock_that_goes_back_by_as_little_as_the_verifier_allows_stops_nobody(
    network: Network, set_clock: SetClock, tmp_path: Path
) -> None:
    network.enter(network.record_of(1))
    set_clock(SKEW_TOLERANCE_SECONDS - 1)
    await network.inquire()
    set_clock(0)
    await network.inquire()
    assert is_sound(network.ledger_engine, network.signer, tmp_path)


async def test_small_steps_back_do_not_add_up(network: Network) -> None:
    """The latest time counts, not that of the last entry."""
    for number, seconds in enumerate((0, -4, -8)):
        entry = one_entry(f"5f7d1c1e-0000-4000-8000-{number:012x}")
        entry.time.FromDatetime(now() + timedelta(seconds=seconds))
        if seconds < -SKEW_TOLERANCE_SECONDS:
            assert await network.refusal_of(network.record.keep(entry)) == UNAVAILABLE
        else:
            await network.record.keep(entry)


async def test_no_operators_act_takes_effect_by_a_clock_that_was_set_back(network: Network) -> None:
    await network.record.keep(one_entry("5f7d1c1e-0000-4000-8000-000000000001"))
    act = one_entry("5f7d1c1e-0000-4000-8000-000000000002")
    act.time.FromDatetime(now() - timedelta(seconds=60))
    done: list[object] = []

    def carry_out(connection: object) -> bool:
        done.append(connection)
        return True

    assert await network.refusal_of(network.record.carry_out(act, carry_out)) == UNAVAILABLE
    assert (done, len(network.leaves())) == ([], 1)


async def test_a_gateway_that_starts_with_a_clock_behind_its_ledger_knows_it(
    network: Network, set_clock: SetClock
) -> None:
    network.enter(network.record_of(1))
    set_clock(60)
    await network.inquire()
    set_clock(0)
    with network.ledger_engine.begin() as connection:
        size, newest = load(connection, lambda: network.signer), newest_us(connection)
    started = Record(
        writer=network.writer, sign=lambda: network.signer, size=size, newest_us=newest, is_open=lambda: True
    )
    assert not started.is_open()
    set_clock(61)
    assert started.is_open()


@pytest.mark.parametrize("seconds", [[], [7], [0, 3, 9, 5, 6, 6, 5, 4], [9, 9, 8, 8, 7, 7, 6, 4], [0, 9, 20, 19]])
def test_the_latest_time_is_found_at_a_start_wherever_it_stands(
    network: Network, seconds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newest_module, "_CHUNK", 2)
    times = [now_us() // SECOND * SECOND + each * SECOND for each in seconds]
    leaves = []
    for number, time in enumerate(times):
        entry = one_entry(f"5f7d1c1e-0000-4000-8000-{number:012x}")
        entry.time.FromMicroseconds(time)
        leaves.append(entry.SerializeToString(deterministic=True))
    with network.ledger_engine.begin() as connection:
        if leaves:
            store.append(connection, store.load(connection, network.signer), leaves, network.signer)
        assert newest_us(connection) == max(times, default=0)
