"""Where a resident can be seen: at the holder's CS, its prefecture and the center, and nowhere else."""

from pathlib import Path
from typing import Any

from jukinet._pb.jukinet.register.v1 import identity_pb2

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA, OKUTAMA, YOKOSUKA = "131016", "133086", "142018"
TOKYO = {"municipality-131016", "prefecture-130001", "center"}
KANAGAWA = {"municipality-142018", "prefecture-140007", "center"}


def nodes_with(network: Network, code: str) -> dict[str, str]:
    """Status of a resident by node, as the registers' own files have it."""
    found = {}
    for name in network.mesh.registers:
        for row in network.rows(name, "residents"):
            if row["resident_code"] == code:
                status = identity_pb2.ResidentStatus.Name(row["status"])
                found[name] = status.removeprefix("RESIDENT_STATUS_")
    return found


def nodes_that_mention(network: Network, text: str) -> set[str]:
    """Nodes in whose folders any file holds a text: registers, outboxes, logs and all else."""
    return {
        path.relative_to(network.mesh.root).parts[1]
        for path in Path(network.mesh.root).glob("nodes/*/*")
        if path.is_file() and text.encode() in path.read_bytes()
    }


async def test_residents_are_visible_at_their_prefecture_and_the_center_and_nowhere_else(network: Network) -> None:
    at_chiyoda, at_okutama = await network.enter(CHIYODA), await network.enter(OKUTAMA)
    at_yokosuka = await network.enter(YOKOSUKA)
    okutama = {"municipality-133086", "prefecture-130001", "center"}
    for record, nodes in ((at_chiyoda, TOKYO), (at_okutama, okutama), (at_yokosuka, KANAGAWA)):
        assert nodes_with(network, record.resident_code) == dict.fromkeys(nodes, "ACTIVE")
        assert nodes_that_mention(network, record.resident_code) == nodes
        assert nodes_that_mention(network, record.name.legal) == nodes


async def test_a_move_to_another_prefecture_shows_each_side_its_own_half_and_the_center_both(network: Network) -> None:
    record = await network.enter(CHIYODA)
    code = record.resident_code
    out = network.submission("DELETION_DOMESTIC_MOVE_OUT", record, next_municipality=YOKOSUKA)
    ticket = await network.submit(CHIYODA, out)
    await network.arrived(CHIYODA)
    assert nodes_with(network, code) == dict.fromkeys(TOKYO, "MOVED_OUT")
    moved = identity_pb2.IdentityRecord()
    moved.CopyFrom(record)
    moved.address.local_government_code, moved.address.town = YOKOSUKA, "小川町"
    entry = network.submission(
        "ENTRY_DOMESTIC_MOVE_IN", moved, previous_municipality=CHIYODA, transfer_version=ticket.version
    )
    answer = await network.submit(YOKOSUKA, entry)
    assert answer.version == ticket.version + 1
    await network.arrived(YOKOSUKA)
    assert nodes_with(network, code) == {
        **dict.fromkeys(KANAGAWA, "ACTIVE"),
        "municipality-131016": "MOVED_OUT",
        "prefecture-130001": "MOVED_OUT",
    }
    # What Chiyoda and Tokyo still hold is what they knew; the new address is not among it.
    assert nodes_that_mention(network, "小川町") == KANAGAWA


async def test_a_death_is_known_at_all_three_tiers(network: Network) -> None:
    record = await network.enter(OKUTAMA)
    await network.submit(OKUTAMA, network.submission("DELETION_DEATH", record))
    await network.arrived(OKUTAMA)
    nodes = {"municipality-133086", "prefecture-130001", "center"}
    assert nodes_with(network, record.resident_code) == dict.fromkeys(nodes, "DECEASED")


async def test_an_answered_change_is_on_disk_before_its_answer(network: Network) -> None:
    record = network.person(OKUTAMA)
    answer = await network.submit(OKUTAMA, network.submission("ENTRY_EX_OFFICIO", record))
    history = network.rows("municipality-133086", "history")
    assert [row["sequence"] for row in history if row["resident_code"] == record.resident_code] == [answer.sequence]
