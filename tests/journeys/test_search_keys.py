"""A center answers only from search keys of its own version."""

import asyncio
import json
from pathlib import Path
from typing import Any

from sqlalchemy import insert, update

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.domain.arrival import Arrival
from jukinet.store.engine import open_writer
from jukinet.store.journal import Origin, write_origin
from jukinet.store.migrate import REGISTER, ensure_schema
from jukinet.store.register import apply_arrivals
from jukinet.store.schema import residents, search_keys

CHIYODA, CENTER, GATEWAY = "131016", "center", "gateway-1"


def test_a_center_makes_the_keys_of_another_version_anew_before_it_answers(new_network: Any, tmp_path: Path) -> None:
    network = new_network(tmp_path, [CHIYODA])
    address = identity_pb2.Address(local_government_code=CHIYODA, town="東七線", block="北12号")
    name = identity_pb2.PersonName(legal="試験　花子", former_surname="髙橋")
    record = network.person(CHIYODA, name=name, address=address)
    fill(network.mesh.config(CENTER).database, record)
    question = network.question(record)
    question.subject.four_items.name = "高橋 花子"
    question.subject.four_items.address.town = "東７線"
    try:
        network.start(CENTER, "witness-1", GATEWAY)
        answer = asyncio.run(network.inquire(question))
    finally:
        network.stop()
    assert answer.outcome == inquiry.INQUIRY_OUTCOME_MATCH
    assert answer.provided.record.name == record.name
    lines = [json.loads(line) for line in network.log(CENTER).splitlines()]
    events = [line["event"] for line in lines]
    assert events.index("the search keys are of this version") < events.index("serving")
    assert [line["count"] for line in lines if line["event"] == "the search keys are of this version"] == [1]


def fill(database: str, record: identity_pb2.IdentityRecord) -> None:
    """A center's register with one resident, whose keys another version made."""
    change = change_pb2.Change(
        reason=change_pb2.CHANGE_REASON_ENTRY_EX_OFFICIO,
        event_date=identity_pb2.CalendarDate(year=2026, month=4, day=1),
        record=record,
        version=1,
    )
    arrival = Arrival(CHIYODA, 1, 1, change, change.SerializeToString())
    engine = open_writer(database)
    ensure_schema(engine, REGISTER)
    with engine.begin() as connection:
        assert apply_arrivals(connection, [arrival], scope="", now_us=1).outcomes == [None]
        write_origin(connection, CHIYODA, Origin(1, 1, b"", 1))
        connection.execute(update(residents).values(name_key="x", former_name_key=None, address_key="x"))
        connection.execute(insert(search_keys), {"id": 1, "version": 99})
    engine.dispose()
