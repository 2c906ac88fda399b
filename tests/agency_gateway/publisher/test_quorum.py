"""A checkpoint is published when a quorum of witnesses cosigned it; without one the ledger is closed, in time."""

import asyncio
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from agency_gateway import publisher as publisher_module
from agency_gateway.publisher import PUBLISH_SECONDS, UNPUBLISHED_SECONDS
from jukinet._pb.jukinet.admin.v1 import admin_pb2 as admin
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.ledger.note import open_checkpoint
from jukinet.ledger.verify import verify_files
from jukinet.mesh.errors import Refused
from jukinet.store.reading import read
from tests.agency_gateway.publisher.conftest import SIGNER, House


async def test_a_new_ledger_is_published_empty_and_then_open(house: House) -> None:
    assert not house.publisher.is_open
    await house.publisher.begin()
    assert house.publisher.is_open
    size, note = house.published()
    assert (size, open_checkpoint(note, SIGNER.verifier).size) == (0, 0)


async def test_all_three_cosign_what_is_on_disk(house: House) -> None:
    await house.publisher.begin()
    for count in (1, 4, 20):
        await house.keep(count)
        await house.publish()
        assert house.published()[0] == house.record.size == house.publisher.size
    assert house.cosigners(3) == ["jukinet/witness-1", "jukinet/witness-2", "jukinet/witness-3"]


async def test_an_open_ledger_asks_one_witness_after_the_other(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await house.publisher.begin()
    await house.keep()
    before, sleep = [each.calls for each in house.direct], asyncio.sleep
    asked: list[list[int]] = []

    async def pause_until_answered(_seconds: float) -> None:
        while [each.behind for each in house.status().witnesses].count(0) <= len(asked):
            await sleep(0)
        asked.append([each.calls - earlier for each, earlier in zip(house.direct, before, strict=True)])

    monkeypatch.setattr(asyncio, "sleep", pause_until_answered)
    await house.publish()
    assert asked == [[1, 0, 0], [1, 1, 0]]
    assert house.cosigners(3) == ["jukinet/witness-1", "jukinet/witness-2", "jukinet/witness-3"]


async def test_two_of_three_are_enough_and_the_third_catches_up_when_it_is_back(house: House) -> None:
    await house.publisher.begin()
    house.direct[1].away = True
    await house.keep(5)
    await house.publish()
    assert house.cosigners() == ["jukinet/witness-1", "jukinet/witness-3"]
    assert house.states() == [admin.WITNESS_STATE_ANSWERS, admin.WITNESS_STATE_AWAY, admin.WITNESS_STATE_ANSWERS]
    assert [each.behind for each in house.status().witnesses] == [0, 5, 0]
    house.direct[1].away = False
    await house.publish()
    assert [each.behind for each in house.status().witnesses] == [0, 0, 0]
    assert house.states() == [admin.WITNESS_STATE_ANSWERS] * 3


async def test_a_receipt_does_not_wait_for_witnesses_and_is_tied_to_what_they_cosign_later(
    house: House, tmp_path: Path
) -> None:
    await house.publisher.begin()
    for each in house.direct:
        each.away = True
    receipt = await house.keep(3)
    assert open_checkpoint(receipt.checkpoint, SIGNER.verifier).size == 3
    assert house.published()[0] == 0
    for each in house.direct:
        each.away = False
    await house.keep(2)
    await house.publish()
    house.cosigners()
    path = tmp_path / "receipt"
    path.write_bytes(receipt.SerializeToString())
    keys = [str(each.cosigner.key) for each in house.direct]
    report = verify_files(tmp_path / "ledger.jsonl", tmp_path / "ledger.vkey", [path], witnesses=keys)
    assert (report.findings.sound, report.receipts, len(report.witnesses)) == (True, 1, 3)


async def refused(house: House) -> "errors.ErrorReason.ValueType":
    with pytest.raises(Refused) as caught:
        await house.keep()
    return caught.value.reason


async def test_without_a_quorum_nothing_is_published_and_after_the_limit_nothing_is_kept(house: House) -> None:
    await house.publisher.begin()
    house.direct[0].away = house.direct[2].away = True
    await house.keep()
    await house.publish(after=0)
    await house.publish(after=UNPUBLISHED_SECONDS)
    assert house.published()[0] == 0
    await house.keep()  # the limit itself is still allowed
    await house.publish(after=1)
    size = house.record.size
    assert await refused(house) == errors.ERROR_REASON_LEDGER_UNAVAILABLE
    assert house.record.size == size
    house.direct[0].away = False
    await house.publish()
    assert (house.published()[0], house.publisher.is_open) == (size, True)
    await house.keep()


async def test_a_ledger_that_does_not_grow_needs_no_witness(house: House) -> None:
    await house.publisher.begin()
    await house.keep()
    await house.publish()
    for each in house.direct:
        each.away = True
    await house.publish(after=10 * UNPUBLISHED_SECONDS)
    assert house.publisher.is_open
    await house.keep()
    await house.publish(after=PUBLISH_SECONDS)
    assert house.publisher.is_open, "it waits since the round before at the earliest"


async def test_a_ledger_that_cannot_be_read_for_its_witnesses_is_closed_after_the_limit(house: House) -> None:
    await house.publisher.begin()
    await house.keep()
    await house.publish()
    await house.keep()
    with house.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE ledger_checkpoints RENAME TO elsewhere")
    await house.publish(after=UNPUBLISHED_SECONDS)
    assert house.publisher.is_open
    await house.publish(after=1)
    assert not house.publisher.is_open
    with house.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO ledger_checkpoints")
    await house.publish()
    assert (house.published()[0], house.publisher.is_open) == (2, True)


async def test_a_round_that_does_not_end_closes_the_ledger_after_the_limit(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.publisher.begin()
    moves_on = threading.Event()

    def hanging(*asked: Any) -> Any:
        moves_on.wait(30)
        return read(*asked)

    monkeypatch.setattr(publisher_module, "read", hanging)
    round_ = asyncio.create_task(house.publish(after=UNPUBLISHED_SECONDS))
    await asyncio.sleep(0)
    assert house.publisher.is_open
    house.now += 1
    assert not house.publisher.is_open
    moves_on.set()
    await round_
    await house.publish()
    assert house.publisher.is_open


async def test_nothing_is_kept_before_a_quorum_has_cosigned_what_is_on_disk(house: House) -> None:
    await house.publisher.begin()
    await house.keep(3)
    await house.publish()
    await house.again()
    house.direct[0].away = house.direct[1].away = True
    await house.publisher.begin()
    assert await refused(house) == errors.ERROR_REASON_LEDGER_UNAVAILABLE
    house.direct[1].away = False
    await house.publish()
    assert (await house.keep()).index == 3


async def test_a_published_checkpoint_is_not_written_again(house: House) -> None:
    await house.publisher.begin()
    await house.keep(3)
    await house.publish()
    before = house.published()
    await house.again()
    await house.publisher.begin()
    assert house.publisher.is_open
    assert house.published() == before


async def test_a_witness_that_hangs_delays_nobody(house: House) -> None:
    await house.publisher.begin()
    house.direct[0].hangs = True
    for _ in range(3):
        await house.keep(2)
        began = time.monotonic()
        await house.publish()
        assert time.monotonic() - began < 1.5
        assert house.published()[0] == house.record.size
    assert house.direct[0].calls <= 3, "the call that hangs is the only one"


async def test_a_dead_witness_is_asked_again_after_pauses_that_grow(house: House) -> None:
    await house.publisher.begin()
    dead = house.direct[0]
    dead.away, dead.calls = True, 0
    await house.keep()
    for _ in range(600):
        await house.publish(after=1.0)
    assert 120 <= dead.calls <= 320, "about one call in three seconds in the end"


async def test_a_ledger_opens_soon_after_a_witness_is_back_however_long_it_was_away(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda _least, most: most)
    for each in house.direct:
        each.away = True
    await house.publisher.begin()
    for _ in range(100):
        await house.publish(after=60.0)
    for each in house.direct[:2]:
        each.away = False
    assert not house.publisher.is_open
    await house.publish(after=5.0)
    assert house.publisher.is_open


async def test_whoever_waits_for_the_published_checkpoint_gets_it_when_it_is_there(house: House) -> None:
    await house.publisher.begin()
    await house.keep(4)
    waiting = asyncio.create_task(house.publisher.covering(4))
    await asyncio.sleep(0)
    await house.publish()
    await asyncio.wait_for(waiting, 1.0)
    assert house.publisher.size == 4


async def test_a_disk_that_keeps_no_published_checkpoint_delays_it_and_ends_nothing(house: House) -> None:
    await house.publisher.begin()
    await house.keep(2)
    with house.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE ledger_published RENAME TO elsewhere")
    await house.publish()
    assert house.publisher.size == 0
    with house.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO ledger_published")
    await house.publish()
    assert house.published()[0] == 2


async def test_one_witness_of_one_is_a_quorum(tmp_path: Path) -> None:
    house = House(tmp_path, witnesses=1)
    await house.publisher.begin()
    await house.keep()
    await house.publish()
    assert house.cosigners() == ["jukinet/witness-1"]
    await house.close()
    house.direct[0].close()
