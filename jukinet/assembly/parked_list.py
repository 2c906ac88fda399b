"""What is parked or held, as operators see it: reason, age, what waits behind, what was proposed. Never a person."""

from collections import defaultdict

from sqlalchemy import Connection, func, select

from jukinet._pb.jukinet.admin.v1 import admin_pb2 as admin
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.assembly.release_held import parked_for_brake, proposal_to_release
from jukinet.store.brakes import read_held
from jukinet.store.operator_acts import PROPOSE
from jukinet.store.schema import operator_acts, parked

_WAITING = errors.ERROR_REASON_WAITING_FOR_EARLIER_CHANGE
_SHOWN_BEHIND = 20


def waiting_since(connection: Connection, late_us: int) -> tuple[int, int]:
    """Since when the oldest waiting change waits (0 = none waits), and how many have waited since before `late_us`."""
    waits = parked.c.reason == _WAITING
    oldest = connection.execute(select(func.min(parked.c.parked_at)).where(waits)).scalar_one_or_none()
    late = select(func.count()).select_from(parked).where(waits, parked.c.parked_at < late_us)
    return oldest or 0, connection.execute(late).scalar_one()


def list_parked(connection: Connection, limit: int, late_us: int) -> list[admin.ListParkedResponse]:
    """The oldest parked changes, at most `limit` of them (0 = all); moments are microseconds since 1970."""
    columns = (
        parked.c.resident_code,
        parked.c.municipality,
        parked.c.epoch,
        parked.c.sequence,
        parked.c.version,
        parked.c.reason,
        parked.c.parked_at,
    )
    query = select(*columns).order_by(parked.c.id)
    proposals = _proposals(connection)
    waiting = defaultdict(list)
    for row in connection.execute(query.where(parked.c.reason == _WAITING, parked.c.resident_code != "")):
        waiting[row.resident_code].append(row)
    entries = []
    for row in connection.execute(query.limit(limit) if limit else query):
        behind = [each for each in waiting.get(row.resident_code, ()) if each.version > row.version]
        entry = admin.ListParkedResponse(
            municipality=row.municipality,
            sequence=row.sequence,
            reason=row.reason,
            epoch=row.epoch,
            behind=len(behind),
            waiting=[
                admin.ChangePlace(municipality=each.municipality, epoch=each.epoch, sequence=each.sequence)
                for each in behind[:_SHOWN_BEHIND]
            ],
            waits_too_long=row.reason == _WAITING and row.parked_at < late_us,
        )
        entry.parked_at.FromMicroseconds(row.parked_at)
        proposed = proposals.get((row.municipality, row.epoch, row.sequence, row.reason))
        if proposed:
            entry.proposed_by = proposed[0]
            entry.proposed_at.FromMicroseconds(proposed[1])
        entries.append(entry)
    return entries


def list_held(connection: Connection) -> list[admin.HeldMunicipality]:
    """The municipalities that the change brake holds."""
    held = read_held(connection)
    kept = parked_for_brake(connection) if held else {}
    entries = []
    for municipality, tally in held.items():
        changes, deletions = tally.total
        entry = admin.HeldMunicipality(
            municipality=municipality,
            changes=changes,
            deletions=deletions,
            residents=tally.residents,
            parked=kept.get(municipality, 0),
        )
        entry.held_at.FromMicroseconds(tally.held_at)
        if tally.lifted_until > tally.held_at:
            entry.lifted_until.FromMicroseconds(tally.lifted_until)
        proposed = proposal_to_release(connection, municipality, tally.held_at)
        if proposed:
            entry.proposed_by = proposed.operator
            entry.proposed_at.FromMicroseconds(proposed.acted_at)
        entries.append(entry)
    return entries


def _proposals(connection: Connection) -> dict[tuple[str, int, int, int], tuple[str, int]]:
    """Who proposed first, and when, by place and reason."""
    acts = operator_acts.c
    query = select(acts.municipality, acts.epoch, acts.sequence, acts.reason, acts.operator, acts.acted_at)
    found = connection.execute(query.where(acts.act == PROPOSE).order_by(acts.id.desc()))
    return {(at, epoch, sequence, reason): (who, when) for at, epoch, sequence, reason, who, when in found}
