"""A stream that any released version sent is taken by this one, to the same effect."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

import jukinet
from jukinet._pb.jukinet.link.v1.link_pb2 import Segment
from jukinet._pb.jukinet.register.v1.change_pb2 import Change
from jukinet.mesh.identity import Identity
from jukinet.store.engine import open_writer
from jukinet.store.migrate import REGISTER, ensure_schema
from jukinet.store.schema import history
from tests.link.recording import FOLDER, Receiver, read_stream, record

RELEASES = sorted(folder.name for folder in FOLDER.iterdir())
BELOW = {"130001": ("municipality", "13"), "140007": ("municipality", "14"), "center": ("prefecture", "")}
OF_TOMORROW = b"new"


@pytest.fixture
def engine(database_url: str) -> Any:
    """The writing engine of a new register."""
    opened = open_writer(database_url)
    ensure_schema(opened, REGISTER)
    yield opened
    opened.dispose()


def replay(engine: Engine, folder: Path, node: str) -> Receiver:
    """Lets a node hear all streams that were recorded for it."""
    kind, scope = BELOW[node]
    receiver = Receiver(engine, scope)
    for path in sorted(folder.glob(f"{kind}-{scope}*.stream")):
        sender = Identity("municipality" if kind == "municipality" else "prefecture", path.stem.partition("-")[2])
        for request in read_stream(path):
            receiver.hear(sender, request)
    return receiver


@pytest.mark.parametrize("node", BELOW)
@pytest.mark.parametrize("release", RELEASES)
def test_a_stream_of_a_released_version_is_taken_to_the_same_effect(engine: Engine, release: str, node: str) -> None:
    expected = json.loads((FOLDER / release / "expected.json").read_text("utf-8"))[node]
    assert replay(engine, FOLDER / release, node).found() == expected


@pytest.mark.parametrize("release", RELEASES)
def test_a_field_that_nobody_knows_reaches_the_history_of_each_tier_as_it_was_sealed(
    engine: Engine, release: str
) -> None:
    replay(engine, FOLDER / release, "center")
    sealed = {
        change
        for path in (FOLDER / release).glob("municipality-*.stream")
        for request in read_stream(path)
        for segment in request.batch.segments
        for change in Segment.FromString(segment.segment).changes
        if change.endswith(OF_TOMORROW)
    }
    assert len(sealed) == 3
    with engine.connect() as connection:
        kept = set(connection.execute(select(history.c.change)).scalars())
    assert sealed <= kept
    assert all(Change.FromString(change).version == 1 for change in sealed)


def test_the_version_at_hand_has_its_streams_recorded() -> None:
    assert jukinet.__version__ in RELEASES, "run `python -m tests.link.recording`"


def test_what_is_recorded_is_never_written_again(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError):
        record(tmp_path / "there")
