"""What the campaigns of `make nightly` found: a JSON object a line and part. A part that held is not run again.

They stand in `.run/campaigns.jsonl`. `python -m tests.nightly` prints the table. Remove the file to begin anew.
"""

import json
import os
import platform
import subprocess
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).parents[1]
RESULTS = _ROOT / ".run" / "campaigns.jsonl"
SUMMED = ("acknowledged", "cuts", "lost", "doubled", "reordered")


def results() -> dict[str, dict[str, Any]]:
    """The last line of each part."""
    if not RESULTS.exists():
        return {}
    lines = map(json.loads, RESULTS.read_text("utf-8").splitlines())
    return {line["part"]: line for line in lines}


def skip_if_done(part: str) -> None:
    """Skips a test whose part was run and held."""
    done = results().get(part)
    if done is not None and done["held"]:
        pytest.skip(f"{part} held at {done['date']}, as {RESULTS} says; remove the line to run it again")


def keep(part: str, found: dict[str, Any], *, held: bool) -> None:
    """Keeps what a part found."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=_ROOT, check=False, capture_output=True, text=True
    ).stdout.strip()
    line = {
        "part": part,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.platform(terse=True)}, {os.cpu_count()} cores",
        "commit": commit,
        "held": held,
        **found,
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def table() -> str:
    """All parts and their sums, as Markdown."""
    lines = [
        "| part | date | seed | kills | " + " | ".join(SUMMED) + " | seconds | held |",
        "|---|---|---|---|" + "---|" * len(SUMMED) + "---|---|",
    ]
    sums: Counter[str] = Counter()
    places: Counter[str] = Counter()
    for part, line in sorted(results().items()):
        kills = sum(line.get("kills", {}).values())
        counts = {name: line.get(name, 0) for name in SUMMED}
        sums.update({**counts, "kills": kills, "seconds": line["seconds"]})
        places.update(line.get("places", {}))
        row = [
            part,
            line["date"],
            line["seed"],
            kills,
            *counts.values(),
            line["seconds"],
            "yes" if line["held"] else "NO",
        ]
        lines.append(f"| {' | '.join(map(str, row))} |")
    row = ["sum", "", "", sums["kills"], *(sums[name] for name in SUMMED), sums["seconds"], ""]
    lines.append(f"| {' | '.join(map(str, row))} |")
    fired = ", ".join(f"{place} {count}" for place, count in sorted(places.items()))
    return "\n".join([*lines, "", f"Kills by place: {fired or 'none'}."])


if __name__ == "__main__":
    print(table())
