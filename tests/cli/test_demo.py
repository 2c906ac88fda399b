"""A demo that cannot go on says so as a claim, prints its result all the same, and leaves nothing behind."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
from rich.console import Console

from jukinet.cli import demo
from jukinet.cli.demo_claims import Claims
from jukinet.cli.output import Exit, Failure
from jukinet.cli.processes import NodeDied, NotHealthy
from tests.commands import jukinet

UNAVAILABLE = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "of a peer")
FAILURES = [
    (NotHealthy(["center"], 60.0), "not healthy after 60 s: center"),
    (NodeDied("center", 6, "[/no tag] of a log"), "center ended with exit code 6: [/no tag] of a log"),
    (demo.NotArrived("not at the center"), "not at the center"),
    (TimeoutError(), "TimeoutError ended it"),
    (Failure("No place.\n  Make some."), "No place. Make some."),
    (UNAVAILABLE, "a call to a node failed with UNAVAILABLE"),
]


class Torn:
    """Stands for what a run opens: notes that it was closed."""

    closed = False

    async def __aenter__(self) -> "Torn":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closed = True


def breaks_off(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> Torn:
    opened = Torn()

    async def main_job(_root: Path, stack: Any, _console: Console, claims: Claims, _traces: Any) -> Any:
        await stack.enter_async_context(opened)
        claims.make("a first claim", True)
        raise failure

    monkeypatch.setattr(demo, "_main_job", main_job)
    return opened


@pytest.mark.parametrize(("failure", "sentence"), FAILURES, ids=lambda value: type(value).__name__)
async def test_a_run_that_breaks_off_is_a_claim_that_did_not_hold(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failure: Exception, sentence: str
) -> None:
    opened = breaks_off(monkeypatch, failure)
    console = Console(record=True, width=200, quiet=True)
    claims = await demo.run_demo(console=console, folder=tmp_path, keep=True)
    assert opened.closed
    assert [(claim.text, claim.held) for claim in claims.made] == [
        ("a first claim", True),
        ("the demo ran to its end", False),
    ]
    assert claims.made[-1].detail == sentence
    assert not claims.all_held


def test_a_run_that_breaks_off_still_prints_its_json(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = breaks_off(monkeypatch, NotHealthy(["center"], 60.0))
    result = jukinet("demo", "--json")
    assert result.exit_code == Exit.REFUSED
    assert json.loads(result.stdout)["claims"][-1] == {"claim": "the demo ran to its end", "held": False}
    assert "not healthy after 60 s: center" in result.stderr
    assert "Traceback" not in result.output
    assert opened.closed


async def test_a_mistake_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened = breaks_off(monkeypatch, KeyError("mistake"))
    with pytest.raises(KeyError):
        await demo.run_demo(console=Console(quiet=True), folder=tmp_path)
    assert opened.closed


async def test_changes_that_do_not_arrive_in_time_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(demo, "_status", never)
    monkeypatch.setattr(demo, "_ARRIVE_SECONDS", 0.0)
    with pytest.raises(demo.NotArrived, match="not at the center"):
        await demo._arrive(cast("demo._Run", SimpleNamespace(mesh=SimpleNamespace(names=["municipality-131016"]))))
