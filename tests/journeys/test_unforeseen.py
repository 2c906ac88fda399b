"""An exception that nobody foresaw quotes a person, and nothing of it leaves the node."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from jukinet._pb.jukinet.intake.v1.intake_pb2 import SubmitChangeRequest
from jukinet._pb.jukinet.intake.v1.intake_pb2_grpc import IntakeServiceStub
from jukinet.mesh.identity import Identity
from jukinet.store.engine import open_writer
from jukinet.store.migrate import REGISTER, ensure_schema
from tests.journeys.canaries import CHIYODA, MARK, Canaries, mentions, traced
from tests.journeys.collector import Collector

Network = Any  # the fixture's own class lives in conftest.py
CS, SYSTEM = "municipality-131016", Identity("municipal-system", CHIYODA)

# Runs before the node, as site customisation: whoever names a way in the message id gets an exception on that way, and
# the whole submission in its text.
BREAKING = """
import asyncio, threading
import cs_node.intake as intake, cs_node.service as service
from jukinet.store import grouping

def fail(where, submission):
    if submission.message_id.startswith(where):
        raise ValueError(f"{submission} {submission.record.name.legal} {submission.resident_code}")

def wrap(owner, name, where, find):
    real = getattr(owner, name)
    def wrapped(*arguments, **named):
        for submission in find(*arguments):
            fail(where, submission)
        return real(*arguments, **named)
    setattr(owner, name, wrapped)

async def task(submission):
    fail("task", submission)

def beside(handler, request, context):
    submission = request.submission
    asyncio.get_running_loop().create_task(task(submission))
    threading.Thread(target=fail, args=("thread", submission)).start()
    return [submission]

wrap(intake, "accept", "writer", lambda connection, items, *_: [item.submission for item in items])
wrap(service.IntakeService, "SubmitChange", "handler", beside)
wrap(service, "_attributes", "attributes", lambda submission: [submission])
wrap(grouping, "_settle", "part", lambda group, results: [item.submission for (item, _future) in group])
"""


@pytest.fixture
def breaking(
    new_network: Callable[..., Network], collector: Collector, tmp_path: Path
) -> Iterator[tuple[Network, Canaries]]:
    """A CS that breaks on request, and whose database refuses one name in words that hold it."""
    canaries = Canaries()
    network = new_network(tmp_path, [CHIYODA], environ={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint})
    (tmp_path / "sitecustomize.py").write_text(BREAKING)
    engine = open_writer(network.mesh.config(CS).database)
    ensure_schema(engine, REGISTER)
    with engine.begin() as connection:
        refuse = f"SELECT RAISE(ABORT, 'the name {MARK}constraint and more')"
        when = "BEFORE INSERT ON residents WHEN NEW.name_key LIKE '%constraint%'"
        connection.execute(text(f"CREATE TRIGGER refuse {when} BEGIN {refuse}; END"))
    engine.dispose()
    canaries.needles.add(f"{MARK}constraint")
    try:
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        network.start(CS, environ={"PYTHONPATH": path.removesuffix(os.pathsep)})
        yield network, canaries
    finally:
        network.stop()


async def test_an_exception_that_nobody_foresaw_tells_nothing_anywhere(
    breaking: tuple[Network, Canaries], collector: Collector
) -> None:
    network, canaries = breaking
    for where, refusal in (
        ("handler", "UNSPECIFIED"),
        ("attributes", "UNSPECIFIED"),
        ("writer", "UNSPECIFIED"),
        ("task", None),
        ("thread", None),
        ("constraint", "DEPENDENCY_UNAVAILABLE"),
        ("part", None),
    ):
        record = canaries.record(network)
        if where == "constraint":
            record.name.legal = f"{MARK}constraint"
        submission = network.submission("ENTRY_EX_OFFICIO", record, message_id=f"{where}-1")
        request = SubmitChangeRequest(submission=submission)
        async with network.channel(CS, SYSTEM) as channel:
            canaries.refusals.clear()
            call = IntakeServiceStub(channel).SubmitChange(request, timeout=5, metadata=traced())
            await canaries.attempt(call, request)
        if where != "part":
            assert canaries.refusals == ({refusal} if refusal else set()), where
            assert network.nodes.is_running(CS)
    # The loss of a part ends the process, in one sentence.
    assert await network.nodes.wait_ended(CS) == 1
    log = network.log(CS)
    assert log.splitlines()[-1] == "The node does not run: a part of the node failed (ValueError)"
    for told in ("a thread fails", "nobody waited for what failed in a task", "call failed: ValueError at "):
        assert told in log
    assert not canaries.leaks([log.encode(), *canaries.told, *collector.exports])
    assert not mentions([log.encode(), *canaries.told])
