"""kill -9 again and again under load: what was acknowledged is there, once, in order, at every tier (P-06).

Municipalities report a nation's life and agencies ask, without a pause, while a CS, a prefecture, the center and the
gateway are killed and started again, two at a time: at random, and at each of the named places of the program.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jukinet.cli.init import UNBRAKED
from jukinet.mesh.failpoints import PLACES
from tests import nightly
from tests.journeys.kills import RANDOM, ROLES, places_of, run_campaign
from tests.journeys.load import MUNICIPALITIES

Network = Any  # the fixture's own class lives in conftest.py
MakeNetwork = Callable[..., Network]


@pytest.fixture
def make_network(new_network: MakeNetwork, tmp_path: Path, request: pytest.FixtureRequest) -> MakeNetwork:
    """A mesh on databases of one kind."""

    def make(database: str) -> Network:
        if database == "sqlite":
            return new_network(tmp_path, MUNICIPALITIES, brake=UNBRAKED)
        server = request.getfixturevalue("postgresql_server")
        return new_network(tmp_path, MUNICIPALITIES, postgresql=server, brake=UNBRAKED)

    return make


def judge(found: dict[str, Any], *, blows: int) -> None:
    """The promise, and that the kills met a network at work: otherwise nothing was shown."""
    print(found)
    assert (found["lost"], found["doubled"], found["reordered"]) == (0, 0, 0)
    assert found["kills"] == dict.fromkeys(ROLES, 2 * blows)
    assert found["places"][RANDOM] == len(ROLES) * blows
    assert found["streams_broken"] >= blows
    assert found["unanswered"] >= blows


ALL_PLACES = {place for role in ROLES for place in places_of(role)}


def test_every_named_place_is_passed_by_some_role() -> None:
    """Those of a snapshot are passed only while one is brought, those of a witness once a second, those of a recall
    where something was wrong.

    `test_snapshot.py`, `test_witnesses.py` and `test_recall.py` kill there.
    """
    elsewhere = {place for place in PLACES if place.startswith(("snapshot.", "bring.", "witness.", "recall."))}
    assert PLACES.keys() - elsewhere == ALL_PLACES


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("database", "blows"), [("sqlite", 30), ("postgresql", 3)])
async def test_nothing_acknowledged_is_lost_doubled_or_reordered_by_kills(
    make_network: MakeNetwork, tmp_path: Path, database: str, blows: int
) -> None:
    found: Any = await run_campaign(make_network(database), tmp_path, seed=blows, blows=blows)
    judge(found, blows=blows)
    if blows >= max(len(places_of(role)) for role in ROLES):
        assert Counter(found["places"]).keys() == {*ALL_PLACES, RANDOM}, "every place ended a node"


PARTS = [("sqlite", part) for part in range(4)] + [("postgresql", part) for part in range(2)]
BLOWS, CHANGES = 25, 50_000
"""Of one part: 50 kills a role, and 50,000 changes acknowledged at least."""


@pytest.mark.nightly
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("database", "part"), PARTS)
async def test_nothing_is_lost_in_a_night_of_kills(
    make_network: MakeNetwork, tmp_path: Path, database: str, part: int
) -> None:
    name = f"kills/{database}/{part}"
    nightly.skip_if_done(name)
    found: Any = await run_campaign(
        make_network(database), tmp_path, seed=1000 + part, blows=BLOWS, changes=CHANGES, residents=6000
    )
    nightly.keep(name, found, held=(found["lost"], found["doubled"], found["reordered"]) == (0, 0, 0))
    judge(found, blows=BLOWS)
    assert Counter(found["places"]).keys() == {*ALL_PLACES, RANDOM}, "every place ended a node"


@pytest.mark.nightly
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_a_ledger_is_one_history_however_often_its_writer_is_killed(
    make_network: MakeNetwork, tmp_path: Path, database: str
) -> None:
    """300 kills: at random moments, and at each place of writing and publishing by turns."""
    name = f"ledger/{database}"
    nightly.skip_if_done(name)
    found: Any = await run_campaign(make_network(database), tmp_path, seed=2000, blows=150, roles=["gateway"])
    held = found["kills"]["gateway"] == 300 and found["unanswered"] >= 150
    held = held and (found["lost"], found["doubled"], found["reordered"]) == (0, 0, 0)
    nightly.keep(name, found, held=held)
    assert held
    assert Counter(found["places"]).keys() == {*places_of("gateway"), RANDOM}, "every place ended the writer"
