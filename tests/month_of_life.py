"""A month of life of a small nation, every kind of event in it: the changes that each municipality seals."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path
from random import Random

from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission
from jukinet._pb.jukinet.register.v1.change_pb2 import (
    CHANGE_REASON_ENTRY_EX_OFFICIO,
    CHANGE_REASON_PROTECTION_BEGIN,
    CHANGE_REASON_PROTECTION_END,
)
from jukinet._pb.jukinet.register.v1.identity_pb2 import Resident
from jukinet.cli.change_file import open_change_file
from jukinet.domain.apply import apply
from jukinet.domain.arrival import Arrival
from jukinet.domain.submission import complete
from nation import Nation, write_csv

MUNICIPALITIES = ("131016", "131041", "133086", "142018", "143821")
TODAY = date(2026, 6, 30)
_LAST_ENTRY = CHANGE_REASON_ENTRY_EX_OFFICIO

Streams = dict[str, list[Arrival]]


def month_of_life(folder: Path) -> Streams:
    """The streams of all municipalities; the folder is empty."""
    nation = Nation(MUNICIPALITIES, count=400, seed=7, on=date(2026, 5, 31), weights=dict.fromkeys(MUNICIPALITIES, 1))
    events = [*nation.residents(), *nation.changes(date(2026, 6, 1), TODAY, intensity=20, at_least_once=True)]
    queues: dict[str, Iterator[Submission]] = {}
    for path in write_csv(folder, events):
        queues[path.stem] = iter([line.content for line in open_change_file(path).lines()])  # type: ignore[misc]  # sound
    return sealed(list(_with_protections((event.municipality, next(queues[event.municipality])) for event in events)))


def _with_protections(filed: Iterable[tuple[str, Submission]]) -> Iterator[tuple[str, Submission]]:
    """Every fourth entry is followed by a protection (支援措置), and every twentieth by its end."""
    entries = 0
    for municipality, submission in filed:
        yield municipality, submission
        if submission.reason > _LAST_ENTRY:
            continue
        entries += 1
        for reason, every in ((CHANGE_REASON_PROTECTION_BEGIN, 4), (CHANGE_REASON_PROTECTION_END, 20)):
            if entries % every == 0:
                yield (
                    municipality,
                    Submission(
                        message_id=f"{submission.message_id}-{reason}",
                        reason=reason,
                        event_date=submission.event_date,
                        resident_code=submission.resident_code,
                    ),
                )


def sealed(filed: Sequence[tuple[str, Submission]]) -> Streams:
    """What the municipalities make of submissions, in the order in which these are filed.

    The move-out certificate states the version that the register gave.
    """
    registers: dict[str, dict[str, Resident]] = {code: {} for code in MUNICIPALITIES}
    streams: Streams = {code: [] for code in MUNICIPALITIES}
    for municipality, submission in filed:
        register, stream = registers[municipality], streams[municipality]
        if submission.transfer_version:
            known = [each[code].version for each in registers.values() if (code := submission.resident_code) in each]
            submission.transfer_version = max(known)
        change = complete(submission, municipality=municipality, today=TODAY, current=register)
        for row in apply(change, municipality=municipality, scope=municipality, current=register):
            register[row.record.resident_code] = row
        stream.append(Arrival(municipality, 1, len(stream) + 1, change, change.SerializeToString()))
    return streams


def merged(streams: Streams, scope: str, random: Random) -> list[list[Arrival]]:
    """The streams that a node sees, batch by batch in any order between municipalities."""
    left = {code: list(stream) for code, stream in streams.items() if code.startswith(scope) and stream}
    batches = []
    while left:
        code = random.choice(sorted(left))
        size = random.randint(1, 60)
        batches.append(left[code][:size])
        left[code] = left[code][size:]
        if not left[code]:
            del left[code]
    return batches
