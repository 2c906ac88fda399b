"""Canaries in every personal field of the contract, on ways that succeed and on ways that fail.

By kind of call: changes, questions, links and so on; `plant` says in which order.
"""

from pathlib import Path
from typing import Any

from jukinet._pb.jukinet.link.v1 import link_pb2 as link
from jukinet._pb.jukinet.register.v1 import identity_pb2
from tests.journeys.canaries import CENTER, CHIYODA, CS, PREFECTURE, Canaries, traced
from tests.journeys.collector import Collector
from tests.journeys.planted.changes import plant_changes
from tests.journeys.planted.disclosure import plant_a_disclosure
from tests.journeys.planted.later import plant_a_watch
from tests.journeys.planted.links import plant_on_a_link
from tests.journeys.planted.operators import (
    plant_bodies,
    plant_in_a_comparison,
    plant_in_a_declaration,
    plant_in_a_release,
    plant_on_the_command_line,
)
from tests.journeys.planted.questions import plant_at_the_center, plant_questions

Network = Any  # the fixture's own class lives in conftest.py


async def plant(canaries: Canaries, network: Network, collector: Collector, folder: Path) -> None:
    known = await plant_changes(canaries, network)
    await plant_questions(canaries, network, known)
    await plant_in_a_release(canaries, network)
    await plant_in_a_declaration(canaries, network)
    await plant_at_the_center(canaries, network, known)
    await plant_a_watch(canaries, network)
    await plant_a_disclosure(canaries, network, known)
    await plant_bodies(canaries, network, known)
    await plant_on_a_link(canaries, network)
    await plant_on_the_command_line(canaries, network, folder)
    await plant_in_a_comparison(canaries, network)
    # Each process sends its spans in the order of their ends: when these are here, all earlier ones are.
    context = traced()
    record = network.person(CHIYODA)
    await network.submit(CHIYODA, network.submission("ENTRY_EX_OFFICIO", record), metadata=context)
    await network.inquire(network.question(record), metadata=context)
    last = [(role, "link.receive") for role in ("prefecture", "center")]
    await collector.wait_for(
        context[0][1].split("-")[1], *last, ("municipality", "register.apply"), ("gateway", "ledger.append")
    )
    # What travelled between the nodes, out of their registers.
    for node in (CS, PREFECTURE, CENTER):
        for row in network.rows(node, "residents"):
            canaries.plant(identity_pb2.Resident.FromString(row["resident"]), needles=False)
        for row in network.rows(node, "outbox"):
            canaries.plant(link.SealedSegment(segment=row["segment"]), needles=False)
