"""`jukinet traces` and `jukinet trace`: what the nodes did, from the command line."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from jukinet.cli.output import Exit
from jukinet.traces.store import Span, SpanStore
from tests.commands import jukinet

TRACE = "0af7651916cd43dd8448eb211c80319c"


def store(tmp_path: Path) -> Path:
    file = tmp_path / "traces.db"
    first = Span(TRACE, "a" * 16, "", "intake.change", "internal", "jukinet-municipality", "131016", 0, 3_000_000)
    second = Span(TRACE, "b" * 16, "a" * 16, "link.receive", "internal", "jukinet-prefecture", "130001", 1, 2_000_001)
    with SpanStore(file) as spans:
        spans.add([second, first])
    return file


def test_a_trace_is_shown_as_a_tree(tmp_path: Path) -> None:
    result = jukinet("trace", TRACE.upper(), "--db", str(store(tmp_path)))
    assert result.exit_code == Exit.OK
    first, second = result.stdout.splitlines()
    assert "jukinet-municipality/131016 intake.change" in first
    assert second.startswith("└─ jukinet-prefecture/130001 link.receive")


def test_a_trace_is_given_to_programs_span_by_span(tmp_path: Path) -> None:
    result = jukinet("trace", TRACE, "--db", str(store(tmp_path)), "--json")
    root, child = json.loads(result.stdout)["spans"]
    assert (root["depth"], root["name"], root["seconds"], root["parent"]) == (0, "intake.change", 0.003, None)
    assert (child["depth"], child["process"], child["parent"]) == (1, "jukinet-prefecture/130001", root["span"])


def test_an_unknown_trace_is_told(tmp_path: Path) -> None:
    result = jukinet("trace", "0" * 32, "--db", str(store(tmp_path)))
    assert result.exit_code == Exit.REFUSED
    assert "no such trace" in result.stderr


def test_a_file_that_holds_no_spans_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_text("no database" * 100)
    assert jukinet("trace", TRACE, "--db", str(file)).exit_code == Exit.CONFIGURATION
    assert jukinet("trace", TRACE, "--db", str(tmp_path / "none")).exit_code == Exit.USAGE


def test_the_console_listens_on_this_machine_alone(tmp_path: Path) -> None:
    arguments = ["traces", "serve", "--db", str(tmp_path / "traces.db"), "--grpc", "127.0.0.1:0"]
    result = jukinet(*arguments, "--http", "0.0.0.0:0")
    assert result.exit_code == Exit.CONFIGURATION
    assert "0.0.0.0:0" in result.stderr


def test_the_console_says_where_it_listens_and_ends_on_sigterm(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jukinet.cli", "traces", "serve", "--db", str(tmp_path / "traces.db")]
    addresses = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    with subprocess.Popen([*command, *addresses], stdout=subprocess.PIPE, text=True) as console:
        assert console.stdout is not None
        told = json.loads(console.stdout.readline())
        assert set(told) == {"otlp", "page"}
        console.send_signal(signal.SIGTERM)
        assert console.wait(timeout=30) == Exit.OK
