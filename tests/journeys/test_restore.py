"""A CS whose database is put back to an old copy takes its own changes back from its prefecture."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA = "131016"
CS, PREFECTURE, CENTER = "municipality-131016", "prefecture-130001", "center"


def history(network: Network, node: str) -> list[tuple[Any, ...]]:
    """The changes of a node in its order, but for the times at which it applied them."""
    columns = ("municipality", "epoch", "sequence", "resident_code", "version", "change")
    rows = sorted(network.rows(node, "history"), key=lambda row: row["position"])
    return [tuple(row[column] for column in columns) for row in rows]


async def stop(network: Network) -> None:
    network.nodes.terminate(CS)
    assert await network.nodes.wait_ended(CS) == 0


async def start(network: Network) -> None:
    network.nodes.start(CS)
    await network.nodes.wait_healthy([CS])


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_cs_put_back_to_an_old_copy_has_every_acknowledged_change_again_once(
    new_network: Callable[..., Network], tmp_path: Path
) -> None:
    network = new_network(tmp_path, [CHIYODA])
    database = network.folder(CS) / "register.db"
    async with network.nodes:
        for name in (CENTER, PREFECTURE, CS):
            network.nodes.start(name)
        await network.nodes.wait_healthy([CENTER, PREFECTURE, CS])
        for _ in range(3):
            await network.enter(CHIYODA)
        await stop(network)
        files = [database, database.with_name("register.db-wal")]
        copies = {file: shutil.copy(file, tmp_path) for file in files if file.exists()}
        await start(network)
        later = [network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA)) for _ in range(5)]
        answers = [await network.submit(CHIYODA, submission) for submission in later]
        await network.arrived(CHIYODA)
        acknowledged = history(network, CS)
        await stop(network)
        for file in (*files, database.with_name("register.db-shm")):
            file.unlink(missing_ok=True)
        for file, copy in copies.items():
            shutil.copy(copy, file)
        assert len(history(network, CS)) == 3
        await start(network)
        assert history(network, CS) == acknowledged == history(network, PREFECTURE) == history(network, CENTER)
        for submission, answer in zip(later, answers, strict=True):
            again = await network.submit(CHIYODA, submission)
            assert again.repeated
            assert (again.version, again.sequence, again.epoch) == (answer.version, answer.sequence, answer.epoch)
        new = await network.submit(CHIYODA, network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA)))
        assert (new.sequence, new.repeated) == (9, False)
        assert new.epoch > 1
        await network.arrived(CHIYODA)
        assert history(network, CS) == history(network, PREFECTURE) == history(network, CENTER)
        assert [row[1:3] for row in history(network, CS)] == [*((1, n) for n in range(1, 9)), (new.epoch, 9)]
        # A start after that is no restore: the epoch stays.
        await stop(network)
        await start(network)
        after = await network.submit(CHIYODA, network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA)))
        assert (after.epoch, after.sequence) == (new.epoch, 10)
