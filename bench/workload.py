"""The work that product and floor do alike: residents of a synthetic municipality, as its own system submits them."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission
from jukinet.cli.change_columns import submission_of
from jukinet.domain.arrival import Arrival
from jukinet.domain.submission import complete
from jukinet.mesh.clock import now_us, today_in_japan
from jukinet.store import journal
from jukinet.store.engine import open_writer
from jukinet.store.migrate import REGISTER, ensure_schema
from jukinet.store.register import apply_arrivals
from jukinet.store.search_keys import renew_keys
from nation import residents

MUNICIPALITY: Final = "131016"
"""Chiyoda, Tokyo."""
PREFECTURE: Final = "130001"
SEED: Final = 20261124
_DAYS_AGO: Final = 31


def submissions(count: int) -> Sequence[Submission]:
    """So many changes (異動): one ex officio entry for each resident, the same ones for the same day."""
    settled = residents([MUNICIPALITY], count=count, seed=SEED, on=today_in_japan() - timedelta(days=_DAYS_AGO))
    return [submission_of(resident.row) for resident in settled]


def fill_register(url: str, people: Sequence[Submission]) -> None:
    """Writes residents into a center's new register, as if their municipality's changes had arrived.

    Args:
        url: of the database; no node runs on it.
        people: of `submissions`.
    """
    engine = open_writer(url)
    ensure_schema(engine, REGISTER)
    renew_keys(engine)
    today = today_in_japan()
    with engine.begin() as connection:
        arrivals = [
            Arrival(MUNICIPALITY, 1, sequence, change, change.SerializeToString())
            for sequence, change in enumerate(
                (complete(each, municipality=MUNICIPALITY, today=today, current={}) for each in people), start=1
            )
        ]
        applied = apply_arrivals(connection, arrivals, scope="", now_us=now_us())
        assert not any(applied.outcomes)
        journal.write_origin(connection, MUNICIPALITY, journal.Origin(1, len(arrivals), bytes(32), now_us()))
    engine.dispose()
