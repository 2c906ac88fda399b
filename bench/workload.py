"""The work that product and floor do alike: residents of a synthetic municipality, as its own system submits them."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission
from jukinet.cli.change_columns import submission_of
from jukinet.mesh.clock import today_in_japan
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
