"""A campaign of hours, in parts: what was done so far stands in a file, one JSON object a line.

The first line says which campaign it is, and the event hash of its first seed, so that runs of two programs are never
added up. Each further line is a part of it, written when its seeds are done: who is stopped, or out of time, goes on
after the last one.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jukinet.checker import Violation
from jukinet.simulate.campaign import Campaign, simulate
from jukinet.simulate.nation import Mode, Run, run

PART = 20
"""Seeds of one line."""


class AnotherCampaign(Exception):
    """The file holds the results of other seeds or of another program: name a new file."""


def go_on(
    path: Path, seeds: range, modes: Sequence[Mode], *, out_of_time: Callable[[], bool], progress: Callable[[], None]
) -> Campaign:
    """Runs what the file does not hold yet, until all is done or the time is out, and gives the sum of all.

    `progress` is called for each seed, those that were done before as well. Raises AnotherCampaign, OSError.
    """
    header = {
        "first": seeds.start,
        "seeds": len(seeds),
        "modes": list(modes),
        "hash": run(seeds.start, modes[0]).event_hash,
    }
    total = Campaign()
    done = _read(path, header)
    for line in done:
        total.add(_campaign(line))
        for _ in range(line["seeds"]):
            progress()
    with path.open("a", encoding="utf-8") as file:
        if not done and not path.stat().st_size:
            _write(file, header)
        while total.seeds < len(seeds) and not out_of_time():
            first = seeds.start + total.seeds
            part = simulate(range(first, min(first + PART, seeds.stop)), modes, progress)
            _write(file, _line(part))
            total.add(part)
    total.finish(modes)
    return total


def _read(path: Path, header: Mapping[str, Any]) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    # Whoever was killed while he wrote left half a line.
    whole = [line for line in lines if line.endswith("\n")]
    if len(whole) < len(lines):
        path.write_text("".join(whole), encoding="utf-8")
    if whole and json.loads(whole[0]) != header:
        raise AnotherCampaign
    return [json.loads(line) for line in whole[1:]]


def _write(file: Any, line: Mapping[str, Any]) -> None:
    file.write(json.dumps(line) + "\n")
    file.flush()
    os.fsync(file.fileno())


def _line(part: Campaign) -> dict[str, Any]:
    failing = [
        {
            "seed": each.seed,
            "mode": each.mode,
            "hash": each.event_hash,
            "violations": [[violation.event, violation.node, violation.text] for violation in each.violations],
        }
        for each in part.failing
    ]
    return {"seeds": part.seeds, "failing": failing, "counters": dict(part.counters)}


def _campaign(line: Mapping[str, Any]) -> Campaign:
    found = Campaign(seeds=line["seeds"])
    found.counters.update(line["counters"])
    for each in line["failing"]:
        violations = tuple(Violation(*violation) for violation in each["violations"])
        found.note(Run(each["seed"], each["mode"], each["hash"], violations, {}))
    return found
