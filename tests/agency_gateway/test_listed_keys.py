"""Who is refused for the key of his certificate, by the directory alone; whole calls stand in `tests/journeys`."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from agency_gateway.listed_keys import require_listed_key, warn_of_unlisted
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.mesh.errors import Refused
from jukinet.mesh.identity import Identity, Peer
from jukinet.purpose.agencies import Agency

OLD, NEW, FORGED = "0a" * 32, "0b" * 32, "0f" * 32
LISTED = Agency(
    id="pension-service",
    spiffe_id="spiffe://agencies.jukinet/agency/pension-service",
    name_en="Pension",
    name_ja="年金",
    kind="public",
    bodies=frozenset(),
    rows=frozenset(),
    valid_from=date(2019, 1, 7),
    certificates=frozenset({OLD}),
)


def call(agency: Agency, key: str, caller: Identity | None = None) -> None:
    identity = caller or Identity("agency", agency.id)
    peer = Peer(identity, datetime(2100, 1, 1, tzinfo=UTC), fingerprint="", key=key)
    require_listed_key({agency.spiffe_id: agency}, peer)


def test_while_an_agency_changes_its_key_both_are_taken() -> None:
    call(LISTED, OLD)
    changing = replace(LISTED, certificates=frozenset({OLD, NEW}))
    call(changing, OLD)
    call(changing, NEW)


@pytest.mark.parametrize("listed", [{OLD}, {OLD, NEW}, set()])
def test_no_other_key_is_taken_and_none_of_an_agency_that_lists_none(listed: set[str]) -> None:
    for key in {OLD, NEW, FORGED} - listed:
        with pytest.raises(Refused) as refused:
            call(replace(LISTED, certificates=frozenset(listed)), key)
        assert refused.value.reason == errors.ERROR_REASON_CALLER_NOT_ALLOWED


def test_at_the_start_the_log_names_the_agencies_that_can_get_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    bare = replace(LISTED, id="bare", spiffe_id="spiffe://agencies.jukinet/agency/bare", certificates=frozenset())
    warn_of_unlisted({each.spiffe_id: each for each in (LISTED, bare)})
    (record,) = caplog.records
    assert (record.levelname, vars(record)["peer"]) == ("WARNING", bare.spiffe_id)


@pytest.mark.parametrize("kind", ["operator", "agency", "gateway"])
def test_who_is_no_agency_of_the_directory_is_left_to_the_policy(kind: str) -> None:
    call(LISTED, FORGED, Identity(kind, "somebody"))  # type: ignore[arg-type]  # a kind as text
