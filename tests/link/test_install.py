"""A snapshot makes of a register what the municipality's changes would have made of it one by one."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Engine, func, select

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import FourItems
from jukinet._pb.jukinet.link.v1.snapshot_pb2 import Manifest
from jukinet._pb.jukinet.register.v1 import change_pb2
from jukinet.domain.arrival import Arrival
from jukinet.domain.brake import Brake, Tally, count, lift
from jukinet.link import manifest as manifest_module
from jukinet.link.apply_batch import Assembly
from jukinet.link.install import install, offer, take
from jukinet.link.manifest import SealedChange, chunk_digest, cut, sign
from jukinet.link.read_chunk import read_chunk
from jukinet.mesh.errors import Refused
from jukinet.store import digest, journal, snapshots
from jukinet.store.brakes import keep_tally, read_tally
from jukinet.store.engine import open_writer
from jukinet.store.migrate import REGISTER, ensure_schema
from jukinet.store.register import apply_arrivals
from jukinet.store.schema import history, metadata, parked, residents, snapshot_chunks
from tests import searched
from tests.month_of_life import MUNICIPALITIES, TODAY, Streams, merged, month_of_life

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
WIDE = Brake(deletions=10**9, floor=10**9)
NOW = 1_790_000_000_000_000


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    opened = open_writer(database_url)
    ensure_schema(opened, REGISTER)
    yield opened
    opened.dispose()


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Streams:
    return month_of_life(tmp_path_factory.mktemp("month") / "all")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_module, "CHUNK_CHANGES", 37)


@contextmanager
def node(engine: Engine) -> Iterator[Connection]:
    """An empty register, in a transaction that is rolled back: one database serves for all."""
    with engine.connect() as connection, connection.begin() as transaction:
        yield connection
        transaction.rollback()


def stream(connection: Connection, scope: str, arrivals: Sequence[Arrival]) -> bool:
    """Brings a batch by the stream, as ever."""
    apply_arrivals(connection, arrivals, scope=scope, now_us=0)
    for arrival in arrivals:
        journal.write_origin(connection, arrival.municipality, journal.Origin(*arrival.place, bytes(32), 0))
    return True


def bring(
    connection: Connection, scope: str, sealed: Sequence[Arrival], *, brake: Brake = WIDE, **fake: Any
) -> Tally | None:
    """Brings a municipality's snapshot up to the end of what it sealed; `fake` puts other values into the manifest.

    The tally, where the brake held it.
    """
    return next(filter(None, steps(connection, scope, sealed, brake=brake, **fake)), None)


def steps(
    connection: Connection, scope: str, sealed: Sequence[Arrival], *, brake: Brake = WIDE, **fake: Any
) -> Iterator[Tally | None]:
    """The same, with a pause before each chunk and before the end."""
    assembly = Assembly(scope=scope, forwards=False, key_of=lambda _: KEY.public_key(), brake=brake)
    name = sealed[0].municipality
    chunks = list(cut(SealedChange(each.sequence, each.epoch, each.payload) for each in sealed))
    codes = {code for each in sealed for code in (each.change.record.resident_code, each.change.previous_resident_code)}
    fields: dict[str, Any] = {
        "municipality": name,
        "epoch": 1,
        "sequence": len(sealed),
        "segment_hash": bytes(32),
        "residents": len(codes - {""}),
        "chunks": [chunk_digest(chunk) for chunk in chunks],
    }
    manifest = Manifest(**(fields | fake))
    begun = offer(connection, sign(manifest, KEY), manifest, source="spiffe://test")
    for number, chunk in list(enumerate(chunks))[begun:]:
        yield None
        changes = read_chunk(name, chunk, scope=scope)
        if held := take(connection, name, number, chunk, changes, assembly=assembly, now_us=NOW):
            yield held
            return
    yield None
    install(connection, name, now_us=NOW)


def content(connection: Connection) -> str:
    """Rows, history and parked changes, in an order of their own."""
    times = {"applied_at", "parked_at"}
    left_out = {residents: set(), history: {"position", "checksum", *times}, parked: {"id", *times}}
    found = {
        table.name: sorted(
            repr({name: value for name, value in row._mapping.items() if name not in without})
            for row in connection.execute(select(table))
        )
        for table, without in left_out.items()
    }
    return json.dumps(found, indent=1)


@pytest.mark.parametrize("scope", ["13", "14", ""])
@pytest.mark.parametrize("seed", range(4))
def test_a_snapshot_at_any_time_makes_what_the_stream_would_have_made(
    engine: Engine, month: Streams, scope: str, seed: int
) -> None:
    random = Random(seed)
    seen = [code for code in MUNICIPALITIES if code.startswith(scope)]
    late = random.choice(seen)
    before = {code: month[code][: random.randint(0, len(month[code]))] for code in seen}
    if seed % 2:
        before[late] = []
    batches = merged(before, scope, random)
    end = random.randint(max(1, len(before[late])), len(month[late]))
    with node(engine) as connection:
        for batch in batches:
            stream(connection, scope, batch)
        stream(connection, scope, month[late][len(before[late]) : end])
        streamed = content(connection)
    with node(engine) as connection:
        for batch in batches:
            stream(connection, scope, batch)
        if end > len(before[late]):
            bring(connection, scope, month[late][:end])
        assert content(connection) == streamed


@pytest.mark.parametrize("seed", range(4))
def test_a_center_rebuilt_by_snapshots_in_any_order_lacks_nothing(engine: Engine, month: Streams, seed: int) -> None:
    with node(engine) as connection:
        for batch in merged(month, "", Random(0)):
            stream(connection, "", batch)
        streamed = content(connection)
    order = list(MUNICIPALITIES)
    random = Random(seed)
    random.shuffle(order)
    ends = {code: random.randint(1, len(month[code])) for code in order}
    with node(engine) as connection:
        for code in order:
            bring(connection, "", month[code][: ends[code]])
        for batch in merged({code: month[code][ends[code] :] for code in order}, "", random):
            stream(connection, "", batch)
        assert content(connection) == streamed


@pytest.mark.parametrize("scope", ["13", ""])
@pytest.mark.parametrize("seed", range(4))
def test_snapshots_and_streams_may_take_turns_chunk_by_chunk(
    engine: Engine, month: Streams, scope: str, seed: int
) -> None:
    """Some municipalities come by snapshots, others by streams, all at the same time; then all go on by the stream."""
    random = Random(seed)
    seen = [code for code in MUNICIPALITIES if code.startswith(scope)]
    ends = {code: random.randint(1, len(month[code])) for code in seen}
    by_snapshot = seen[seed % len(seen) :]
    by_stream = {code: month[code][: ends[code]] for code in seen if code not in by_snapshot}
    with node(engine) as connection:
        for batch in merged({code: month[code] for code in seen}, scope, Random(0)):
            stream(connection, scope, batch)
        streamed = content(connection)
    with node(engine) as connection:
        coming: list[Iterator[Any]] = [steps(connection, scope, month[code][: ends[code]]) for code in by_snapshot]
        batches = iter(merged(by_stream, scope, random))
        coming.append(stream(connection, scope, batch) for batch in batches)
        while coming:
            one = random.choice(coming)
            if next(one, coming) is coming:
                coming.remove(one)
        for batch in merged({code: month[code][ends[code] :] for code in seen}, scope, random):
            stream(connection, scope, batch)
        assert content(connection) == streamed


def is_provided(connection: Connection, arrival: Arrival) -> bool:
    """Whether the person of a change is found as a resident of its municipality, by the four items or by the number."""
    record = arrival.change.record
    items = FourItems(name=record.name.legal, birth_date=record.birth_date, sex=record.sex, address=record.address)
    found = (
        searched.by_four_items(connection, items, day=TODAY),
        searched.by_individual_number(connection, record.individual_number, day=TODAY),
    )
    return any(resident is not None and resident.holder == arrival.municipality for resident in found)


def test_nobody_of_a_municipality_is_provided_before_its_first_snapshot_is_whole(
    engine: Engine, month: Streams
) -> None:
    sealed = month["131016"]
    with node(engine) as connection:
        stream(connection, "", month["142018"])
        for _ in steps(connection, "", sealed[:80]):
            assert not any(is_provided(connection, arrival) for arrival in sealed)
            assert any(is_provided(connection, arrival) for arrival in month["142018"])
            assert [place.municipality for place in digest.places(connection)] == ["142018"]
        assert any(is_provided(connection, arrival) for arrival in sealed[:37])
        for _ in steps(connection, "", sealed):
            assert any(is_provided(connection, arrival) for arrival in sealed[:37])


def test_a_change_that_cannot_be_read_is_parked(engine: Engine, link: Any) -> None:
    unread = [Arrival("131016", 1, 1, change_pb2.Change(), b"\xff")]
    with node(engine) as connection:
        bring(connection, "", unread)
        (row,) = connection.execute(select(parked)).all()
        assert (row.sequence, row.change, row.reason) == (1, b"\xff", errors.ERROR_REASON_INVALID_MESSAGE)


def test_a_snapshot_of_another_history_is_not_taken(engine: Engine, month: Streams) -> None:
    sealed = month["131016"]
    other = sealed[7].change.__class__.FromString(sealed[7].payload)
    other.record.name.furigana = "べつ"
    forked = [*sealed[:7], Arrival("131016", 1, 8, other, other.SerializeToString()), *sealed[8:]]
    with node(engine) as connection:
        stream(connection, "", sealed[:20])
        before = content(connection)
        with pytest.raises(Refused) as refused:
            bring(connection, "", forked)
        assert refused.value.reason == errors.ERROR_REASON_LINK_FORK
        assert content(connection) == before


@pytest.mark.parametrize(("end", "epoch", "reason"), [(20, 1, "LINK_GAP"), (15, 1, "LINK_GAP"), (30, 0, "LINK_FENCED")])
def test_a_snapshot_never_leads_back(engine: Engine, month: Streams, end: int, epoch: int, reason: str) -> None:
    sealed = month["131016"]
    with node(engine) as connection:
        stream(connection, "", sealed[:20])
        with pytest.raises(Refused) as refused:
            bring(connection, "", sealed[:end], epoch=epoch)
        assert refused.value.reason == errors.ErrorReason.Value(f"ERROR_REASON_{reason}")


def test_what_a_snapshot_changes_beyond_what_is_here_counts_for_the_brake(engine: Engine, month: Streams) -> None:
    sealed = month["131016"]
    here = next(n for n in range(20, len(sealed)) if count(each.change for each in sealed[n:]).changes > 3)
    counted = count(each.change for each in sealed[here:])
    enough = Brake(percent=0, deletions=counted.deletions, floor=counted.changes)
    for too_narrow in (
        Brake(percent=0, deletions=counted.deletions, floor=counted.changes - 1),
        Brake(percent=0, deletions=counted.deletions - 1, floor=counted.changes),
    ):
        with node(engine) as connection:
            stream(connection, "", sealed[:here])
            held = bring(connection, "", sealed, brake=too_narrow)
            assert held is not None
            assert held.held_at == NOW
            assert held.total.changes > too_narrow.floor or held.total.deletions > too_narrow.deletions
            assert read_tally(connection, "131016") == held
            stopped = content(connection)
            assert journal.read_origins(connection)["131016"].sequence == here
            kept = connection.execute(select(func.max(snapshot_chunks.c.last_sequence))).scalar_one() or 0
            assert bring(connection, "", sealed, brake=too_narrow) is not None
            assert content(connection) == stopped
            keep_tally(connection, "131016", lift(held, now_us=NOW))
            assert bring(connection, "", sealed, brake=too_narrow) is None
            assert content(connection) != stopped
        with node(engine) as connection:
            stream(connection, "", sealed[: max(here, kept)])
            assert content(connection) == stopped
    with node(engine) as connection:
        stream(connection, "", sealed[:here])
        assert bring(connection, "", sealed, brake=enough) is None
        assert read_tally(connection, "131016").total == counted
    with node(engine) as connection:
        assert bring(connection, "", sealed, brake=Brake(0, 0, 0)) is None, "nothing is here to alter"


def test_a_snapshot_that_ends_before_what_is_half_in_is_not_taken(engine: Engine, month: Streams) -> None:
    sealed = month["131016"]
    with node(engine) as connection:
        begun = steps(connection, "", sealed)
        for _ in range(4):
            next(begun)
        with pytest.raises(Refused) as refused:
            bring(connection, "", sealed[:80])
        assert refused.value.reason == errors.ERROR_REASON_LINK_GAP


def test_a_newer_snapshot_goes_on_where_an_older_one_was_left(engine: Engine, month: Streams) -> None:
    sealed = month["131016"]
    with node(engine) as connection:
        stream(connection, "", sealed)
        streamed = content(connection)
    with node(engine) as connection:
        begun = steps(connection, "", sealed[:100])
        for _ in range(4):  # two whole chunks, and a last one that the newer snapshot does not have
            next(begun)
        assert [place[0] for place in connection.execute(select(snapshot_chunks.c.last_sequence))] == [37, 74, 100]
        newer = steps(connection, "", sealed)
        next(newer)
        assert [place[0] for place in connection.execute(select(snapshot_chunks.c.last_sequence))] == [37, 74]
        assert snapshots.half_in(connection, ["131016", "142018"]) == {"131016"}
        for _ in newer:
            pass
        assert content(connection) == streamed
        assert not snapshots.half_in(connection, ["131016"])
        for table in (snapshot_chunks, metadata.tables["snapshots"]):
            assert not connection.execute(select(table)).all()


def test_a_municipality_stays_half_in_when_an_offer_has_no_chunk_of_the_one_before(
    engine: Engine, month: Streams
) -> None:
    sealed = month["131016"]
    with node(engine) as connection:
        begun = steps(connection, "", sealed[:20])
        next(begun)
        next(begun)
        next(steps(connection, "", sealed))
        assert not connection.execute(select(snapshot_chunks)).all()
        assert snapshots.half_in(connection, ["131016"]) == {"131016"}


def test_chunks_are_taken_in_their_order_and_all_of_them(engine: Engine, month: Streams) -> None:
    sealed = month["131016"][:60]
    chunks = list(cut(SealedChange(each.sequence, each.epoch, each.payload) for each in sealed))
    manifest = Manifest(municipality="131016", epoch=1, sequence=60, chunks=map(chunk_digest, chunks))
    with node(engine) as connection:
        offer(connection, sign(manifest, KEY), manifest, source="")
        with pytest.raises(Refused) as later:
            taken(connection, 1, chunks[1])
        with pytest.raises(Refused) as ended:
            install(connection, "131016", now_us=0)
        with pytest.raises(Refused) as another:
            taken(connection, 0, chunks[1])
        assert later.value.reason == ended.value.reason == errors.ERROR_REASON_SNAPSHOT_NOT_OFFERED
        assert another.value.reason == errors.ERROR_REASON_SNAPSHOT_CHUNK
        assert content(connection) == json.dumps({"residents": [], "history": [], "parked": []}, indent=1)


def taken(connection: Connection, number: int, chunk: Any) -> None:
    assembly = Assembly(scope="", forwards=False, key_of=lambda _: KEY.public_key(), brake=WIDE)
    take(connection, "131016", number, chunk, read_chunk("131016", chunk, scope=""), assembly=assembly, now_us=NOW)


@pytest.mark.parametrize("versions", [(1, 1), (2, 1), (1, 2, 3), (1, 3, 2), (2, 2, 1)])
def test_a_change_is_judged_by_what_came_before_it_in_its_chunk(
    engine: Engine, link: Any, versions: Sequence[int]
) -> None:
    changes = [link.change(7, version) for version in versions]
    sealed = [Arrival("131016", 1, n, each, each.SerializeToString()) for n, each in enumerate(changes, 1)]
    with node(engine) as connection:
        stream(connection, "", sealed)
        streamed = content(connection)
    with node(engine) as connection:
        bring(connection, "", sealed)
        assert content(connection) == streamed


def test_codes_of_one_person_go_the_same_way(engine: Engine, link: Any) -> None:
    """Somebody else's change waits for the old code: the person's own changes are judged one by one, all of them."""
    entry = link.change(1)
    renamed = link.change(
        2,
        2,
        reason=change_pb2.CHANGE_REASON_CORRECTION_RESIDENT_CODE_REQUEST,
        previous_resident_code=entry.record.resident_code,
    )
    renamed.record.address.CopyFrom(entry.record.address)
    moved_in = link.change(
        1, 9, "131024", reason=change_pb2.CHANGE_REASON_ENTRY_DOMESTIC_MOVE_IN, previous_municipality="131016"
    )
    own = [Arrival("131016", 1, n, each, each.SerializeToString()) for n, each in enumerate((entry, renamed), 1)]
    waits = [Arrival("131024", 1, 1, moved_in, moved_in.SerializeToString())]
    with node(engine) as connection:
        stream(connection, "", waits)
        stream(connection, "", own)
        streamed = content(connection)
        assert len(connection.execute(select(residents)).all()) == 2
    with node(engine) as connection:
        stream(connection, "", waits)
        bring(connection, "", own)
        assert content(connection) == streamed
