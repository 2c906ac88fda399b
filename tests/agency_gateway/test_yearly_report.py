"""What a gateway refuses an agency stands in the yearly report, whichever method it called."""

import tomllib
from datetime import timedelta
from importlib import resources
from pathlib import Path
from typing import Any

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.ledger.yearly_report import SMALLEST, report_year
from jukinet.mesh.clock import now, today_in_japan
from tests.ledger.ledger_files import act, write

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls


async def test_what_is_refused_at_any_method_is_counted(network: Network, tmp_path: Path) -> None:
    callers = tomllib.loads(resources.files("jukinet.mesh").joinpath("callers.toml").read_text(encoding="utf-8"))
    methods = [rpc for rpc, who in callers["callers"].items() if "agency" in who]
    for rpc in methods * SMALLEST:
        await network.note_refusal(errors.ERROR_REASON_INVALID_MESSAGE, "pension-service", rpc=rpc)
    ledger = write(tmp_path / "ledger", [*network.entries(), act(now() + timedelta(days=40))])
    day = today_in_japan()
    report = report_year(day.year - (day.month < 4), [ledger.path], [ledger.key])
    counted = [(line.kind, line.month, line.reason, line.number) for line in report.lines]
    assert counted == [("refused", f"{day:%Y-%m}", "INVALID_MESSAGE", len(methods) * SMALLEST)]
