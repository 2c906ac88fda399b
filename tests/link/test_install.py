"""A snapshot makes of a register what the municipality's changes would have made of it one by one."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Engine, select, update

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1.snapshot_pb2 import Manifest
from jukinet._pb.jukinet.register.v1 import change_pb2
from jukinet.domain.arrival import Arrival
from jukinet.domain.brake import Brake, Tally, count, lift
from jukinet.link import manifest as manifest_module
from jukinet.link.apply_batch import Assembly
from jukinet.link.install import install, offer
from jukinet.link.manifest import SealedChange, chunk_digest, cut, sign
from jukinet.link.read_chunk import read_chunk
from jukinet.mesh.errors import Refused
from jukinet.store import journal, staging
from jukinet.store.brakes import keep_tally, read_tally
from jukinet.store.engine import open_writer
from jukinet.store.migrate import REGISTER, ensure_schema
from jukinet.store.register import apply_arrivals
from jukinet.store.schema import history, metadata, parked, residents
from tests.month_of_life import MUNICIPALITIES, Streams, merged, month_of_life

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


def take(connection: Connection, scope: str, arrivals: Sequence[Arrival]) -> None:
    apply_arrivals(connection, arrivals, scope=scope, now_us=0)
    for arrival in arrivals:
        journal.write_origin(connection, arrival.municipality, journal.Origin(*arrival.place, bytes(32), 0))


def bring(
    connection: Connection, scope: str, stream: Sequence[Arrival], *, brake: Brake = WIDE, **fake: Any
) -> list[Any] | Tally:
    """Brings a municipality's snapshot up to the end of `stream`; `fake` puts other values into the manifest."""
    name = stream[0].municipality
    chunks = list(cut(SealedChange(each.sequence, each.epoch, each.payload) for each in stream))
    codes = {code for each in stream for code in (each.change.record.resident_code, each.change.previous_resident_code)}
    fields: dict[str, Any] = {
        "municipality": name,
        "epoch": 1,
        "sequence": len(stream),
        "segment_hash": bytes(32),
        "residents": len(codes - {""}),
        "chunks": [chunk_digest(chunk) for chunk in chunks],
    }
    manifest = Manifest(**(fields | fake))
    staged = offer(connection, sign(manifest, KEY), manifest, source="spiffe://test")
    for number, chunk in list(enumerate(chunks))[staged:]:
        changes = read_chunk(name, chunk, scope=scope)
        staging.stage(connection, name, number, chunk_digest(chunk), changes, scope=scope)
    assembly = Assembly(scope=scope, forwards=False, key_of=lambda _: KEY.public_key(), brake=brake)
    return install(connection, name, assembly=assembly, now_us=NOW)


def content(connection: Connection) -> str:
    """Rows, history and parked changes, in an order of their own."""
    left_out = {"position", "id", "applied_at", "parked_at"}
    found = {
        table.name: sorted(
            repr({name: value for name, value in row._mapping.items() if name not in left_out})
            for row in connection.execute(select(table))
        )
        for table in (residents, history, parked)
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
            take(connection, scope, batch)
        take(connection, scope, month[late][len(before[late]) : end])
        streamed = content(connection)
    with node(engine) as connection:
        for batch in batches:
            take(connection, scope, batch)
        if end > len(before[late]):
            bring(connection, scope, month[late][:end])
        assert content(connection) == streamed


@pytest.mark.parametrize("seed", range(4))
def test_a_center_rebuilt_by_snapshots_in_any_order_lacks_nothing(engine: Engine, month: Streams, seed: int) -> None:
    with node(engine) as connection:
        for batch in merged(month, "", Random(0)):
            take(connection, "", batch)
        streamed = content(connection)
    order = list(MUNICIPALITIES)
    random = Random(seed)
    random.shuffle(order)
    ends = {code: random.randint(1, len(month[code])) for code in order}
    with node(engine) as connection:
        for code in order:
            bring(connection, "", month[code][: ends[code]])
        for batch in merged({code: month[code][ends[code] :] for code in order}, "", random):
            take(connection, "", batch)
        assert content(connection) == streamed


def test_nothing_of_a_snapshot_is_seen_before_it_is_installed(engine: Engine, month: Streams) -> None:
    stream = month["131016"]
    with node(engine) as connection:
        with pytest.raises(Refused) as refused:
            bring(connection, "", stream, residents=1)
        assert refused.value.reason == errors.ERROR_REASON_SNAPSHOT_CHUNK
        assert content(connection) == json.dumps({"residents": [], "history": [], "parked": []}, indent=1)
        assert not journal.read_origins(connection)


def test_a_snapshot_of_another_history_is_not_taken(engine: Engine, month: Streams) -> None:
    stream = month["131016"]
    other = stream[7].change.__class__.FromString(stream[7].payload)
    other.record.name.furigana = "べつ"
    forked = [*stream[:7], Arrival("131016", 1, 8, other, other.SerializeToString()), *stream[8:]]
    with node(engine) as connection:
        take(connection, "", stream[:20])
        before = content(connection)
        with pytest.raises(Refused) as refused:
            bring(connection, "", forked)
        assert refused.value.reason == errors.ERROR_REASON_LINK_FORK
        assert content(connection) == before


@pytest.mark.parametrize(("end", "epoch", "reason"), [(20, 1, "LINK_GAP"), (15, 1, "LINK_GAP"), (30, 0, "LINK_FENCED")])
def test_a_snapshot_never_leads_back(engine: Engine, month: Streams, end: int, epoch: int, reason: str) -> None:
    stream = month["131016"]
    with node(engine) as connection:
        take(connection, "", stream[:20])
        with pytest.raises(Refused) as refused:
            bring(connection, "", stream[:end], epoch=epoch)
        assert refused.value.reason == errors.ErrorReason.Value(f"ERROR_REASON_{reason}")


def test_what_a_snapshot_changes_beyond_what_is_here_counts_for_the_brake(engine: Engine, month: Streams) -> None:
    stream = month["131016"]
    here = next(n for n in range(20, len(stream)) if count(each.change for each in stream[n:]).changes > 3)
    counted = count(each.change for each in stream[here:])
    enough = Brake(percent=0, deletions=counted.deletions, floor=counted.changes)
    for too_narrow in (
        Brake(percent=0, deletions=counted.deletions, floor=counted.changes - 1),
        Brake(percent=0, deletions=counted.deletions - 1, floor=counted.changes),
    ):
        with node(engine) as connection:
            take(connection, "", stream[:here])
            before = content(connection)
            held = bring(connection, "", stream, brake=too_narrow)
            assert isinstance(held, Tally)
            assert (held.total, held.held_at) == (counted, NOW)
            assert read_tally(connection, "131016") == held
            assert content(connection) == before
            assert journal.read_origins(connection)["131016"].sequence == here
            keep_tally(connection, "131016", lift(held, now_us=NOW))
            assert not isinstance(bring(connection, "", stream, brake=too_narrow), Tally)
    with node(engine) as connection:
        take(connection, "", stream[:here])
        assert not isinstance(bring(connection, "", stream, brake=enough), Tally)
        assert read_tally(connection, "131016").total == counted
    with node(engine) as connection:
        assert not isinstance(bring(connection, "", stream, brake=Brake(0, 0, 0)), Tally), "nothing is here to alter"


def test_a_row_that_nobody_sealed_is_gone_after_a_snapshot(engine: Engine, month: Streams) -> None:
    stream = month["131016"]
    with node(engine) as connection:
        take(connection, "", stream)
        sound = content(connection)
    with node(engine) as connection:
        take(connection, "", stream[:20])
        victim = stream[3].change.record.resident_code
        connection.execute(update(residents).where(residents.c.resident_code == victim).values(resident_code="0" * 11))
        bring(connection, "", stream)
        assert content(connection) == sound


def test_a_newer_snapshot_goes_on_with_what_is_staged_of_an_older_one(engine: Engine, month: Streams) -> None:
    stream = month["131016"]
    chunks = list(cut(SealedChange(each.sequence, each.epoch, each.payload) for each in stream))
    whole = len(chunks) - 1
    with node(engine) as connection:
        old = Manifest(municipality="131016", epoch=1, sequence=37 * whole, chunks=map(chunk_digest, chunks[:whole]))
        assert offer(connection, sign(old, KEY), old, source="") == 0
        for number, chunk in enumerate(chunks[:whole]):
            changes = read_chunk("131016", chunk, scope="")
            staging.stage(connection, "131016", number, chunk_digest(chunk), changes, scope="")
        new = Manifest(municipality="131016", epoch=1, sequence=len(stream), chunks=map(chunk_digest, chunks))
        assert offer(connection, sign(new, KEY), new, source="") == whole
        foreign = Manifest(municipality="131016", epoch=1, sequence=len(stream), chunks=[bytes(32)])
        assert offer(connection, sign(foreign, KEY), foreign, source="") == 0
        for name in ("staged_residents", "staged_changes", "snapshot_chunks"):
            assert not connection.execute(select(metadata.tables[name])).all()


def test_what_is_staged_goes_part_by_part_when_it_is_over(
    engine: Engine, month: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "_SWEEP_ROWS", 50)
    with node(engine) as connection:
        bring(connection, "", month["131016"])
        after = content(connection)
        rounds = 0
        while staging.sweep(connection):
            rounds += 1
        assert rounds > 2
        for name in ("staged_residents", "staged_changes", "snapshot_chunks", "snapshots"):
            assert not connection.execute(select(metadata.tables[name])).all()
        assert content(connection) == after


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
        take(connection, "", waits)
        take(connection, "", own)
        streamed = content(connection)
        assert len(connection.execute(select(residents)).all()) == 2
    with node(engine) as connection:
        take(connection, "", waits)
        bring(connection, "", own)
        assert content(connection) == streamed
