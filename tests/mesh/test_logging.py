"""A log line is one line of JSON and holds nothing of a person."""

import asyncio
import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission
from jukinet.mesh import tracing
from jukinet.mesh.errors import Refused
from jukinet.mesh.identity import Identity
from jukinet.mesh.logging import EXTRA, OURS, JsonFormatter, configure_logging, described, install_loop_handler

CODE = "00123456789"
NAME = "山田太郎"
NODE = "spiffe://nodes.jukinet/center"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.lastResort, {name: logging.getLogger(name).level for name in OURS}
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    stream = io.StringIO()
    configure_logging(NODE, "DEBUG", stream=stream)
    yield stream
    root.handlers[:], level, logging.lastResort, levels = before
    root.setLevel(level)
    for name, own in levels.items():
        logging.getLogger(name).setLevel(own)
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks


def read(lines: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.getvalue().splitlines()]


def only(lines: io.StringIO) -> dict[str, Any]:
    (line,) = read(lines)
    return line


log = logging.getLogger("jukinet.test")


def test_record_has_the_fixed_keys_and_the_allowed_extras(lines: io.StringIO) -> None:
    log.info("link %s", "lost", extra={"reason": "LINK_GAP", "sequence": 7, "resident": NAME, "seconds": 0.5})
    line = only(lines)
    assert datetime.fromisoformat(line.pop("time")).tzinfo == UTC
    assert line == {
        "level": "INFO",
        "logger": "jukinet.test",
        "event": "link lost",
        "node": NODE,
        "trace_id": "",
        "reason": "LINK_GAP",
        "sequence": 7,
        "seconds": 0.5,
    }


def test_record_names_the_trace_in_which_it_was_made(lines: io.StringIO) -> None:
    tracing.configure("center", "", exporter=InMemorySpanExporter())
    with tracing.span("link.receive", parent=f"00-{'a' * 32}-{'b' * 16}-01"):
        log.info("here")
    tracing.shutdown()
    assert only(lines)["trace_id"] == "a" * 32


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_text_can_break_out_of_its_line(event: str, reason: str) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(NODE))
    record = logging.LogRecord("jukinet.x", logging.INFO, "f", 1, "%s", (event,), None)
    record.reason = reason
    handler.emit(record)
    text = stream.getvalue()
    assert text.endswith("\n")
    assert all(" " <= each <= "~" for each in text[:-1])
    json.loads(text)


@pytest.mark.parametrize(
    "hostile",
    ["a\nb", "a\r\n{}", "\x1b[2J", "\u2028", "\u202e", "\x9b31m", '"}', "\x7f", "\ud800", "\x00"],
    ids=ascii,
)
def test_hostile_text_stays_within_its_value(hostile: str) -> None:
    # Formatted by hand: what is really logged here would reach the test runner, which cannot take a lone surrogate.
    record = logging.LogRecord("jukinet.test", logging.WARNING, "", 0, "odd: %s", (hostile,), None)
    record.path = hostile
    text = JsonFormatter(NODE).format(record)
    assert all(" " <= each <= "~" for each in text)
    assert json.loads(text)["path"] == hostile


def submission() -> Submission:
    personal = Submission(message_id="m-1", resident_code=CODE)
    personal.record.name.legal = NAME
    return personal


@pytest.mark.parametrize(
    "argument",
    [
        submission(),
        [submission()],
        {"change": submission()},
        ValueError(NAME),
        Refused(errors_pb2.ERROR_REASON_NOT_HOLDER, detail=NAME),
        CODE,
        f"code {CODE}!",
        "00１２３４５６７８９",
        int("1" + CODE),
        NAME.encode(),
        type("Holder", (), {"__repr__": lambda _self: NAME})(),
    ],
)
def test_no_argument_shows_a_person(lines: io.StringIO, argument: object) -> None:
    log.info("seen: %s and %r", argument, argument, extra={"reason": argument})
    log.info("seen: %(it)s", {"it": argument})
    log.info(argument)
    text = lines.getvalue().encode().decode("unicode_escape")
    assert NAME not in text
    assert CODE not in text
    assert "１２３" not in text
    assert len(read(lines)) == 3


def test_message_is_shown_redacted_and_an_exception_by_its_type(lines: io.StringIO) -> None:
    log.info("took %s: %s, %s", submission(), KeyError(NAME), Identity("center"))
    event = only(lines)["event"]
    assert event.startswith('took Submission{message_id: "m-1"')
    assert event.endswith("[redacted]}: KeyError, spiffe://nodes.jukinet/center")


def test_plain_values_are_shown_as_they_are(lines: io.StringIO) -> None:
    log.info("%d of %d in %.1f s, %s %s %s", 3, 4, 0.25, None, True, Path("a/b"))
    assert only(lines)["event"] == "3 of 4 in 0.2 s, None True a/b"


@pytest.mark.parametrize(("event", "arguments"), [("%d", (NAME,)), ("%(missing)s", ({"other": NAME},)), ("%s", (1, 2))])
def test_arguments_that_do_not_fit_are_left_out(event: str, arguments: tuple[object, ...]) -> None:
    record = logging.LogRecord("jukinet.x", logging.INFO, "f", 1, event, arguments, None)
    assert json.loads(JsonFormatter(NODE).format(record))["event"] == event


def test_thread_that_ends_itself_is_no_failure(lines: io.StringIO) -> None:
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()
    assert lines.getvalue() == ""


def fail() -> None:
    try:
        raise KeyError(NAME)
    except KeyError as cause:
        raise ValueError(CODE) from cause


def test_exception_is_shown_by_types_and_places(lines: io.StringIO) -> None:
    try:
        fail()
    except ValueError:
        log.exception("failed", stack_info=True)
    line = only(lines)
    assert [each["type"] for each in line["error"]] == ["ValueError", "KeyError"]
    assert line["error"][0]["frames"][-1].endswith(" fail")
    assert len(line["error_id"]) == 16
    assert NAME not in lines.getvalue().encode().decode("unicode_escape")
    assert CODE not in lines.getvalue()


def test_members_of_a_group_are_shown_too() -> None:
    group = ExceptionGroup(NAME, [ValueError(NAME), ExceptionGroup(NAME, [KeyError(NAME)])])
    assert [each["type"] for each in described(group)] == ["ExceptionGroup", "ValueError", "ExceptionGroup", "KeyError"]
    assert NAME not in str(described(group))


def test_chain_of_causes_is_cut() -> None:
    error: Exception = ValueError()
    for _ in range(20):
        outer = ValueError()
        outer.__cause__ = error
        error = outer
    assert len(described(error)) == 8


def test_libraries_speak_from_warning_on_and_without_texts(lines: io.StringIO) -> None:
    for name in ("grpc", "sqlalchemy.engine", "uvicorn.access", "opentelemetry"):
        library = logging.getLogger(name)
        library.info("row %s", NAME)
        library.warning("row %s of %d", NAME, 3)
    assert {line["event"] for line in read(lines)} == {"row <text> of 3"}
    assert len(read(lines)) == 4


def test_own_level_of_a_library_changes_nothing(lines: io.StringIO) -> None:
    library = logging.getLogger("sqlalchemy.pool")
    library.setLevel(logging.DEBUG)
    try:
        library.info("row %s", NAME)
    finally:
        library.setLevel(logging.NOTSET)
    assert lines.getvalue() == ""


async def test_event_loop_shows_no_values(lines: io.StringIO) -> None:
    loop = asyncio.get_running_loop()
    install_loop_handler(loop)
    seen = asyncio.Event()

    def failing(_value: str) -> None:
        loop.call_soon(seen.set)
        raise ValueError(NAME)

    loop.call_soon(failing, NAME)
    await seen.wait()
    loop.call_exception_handler({"message": NAME})
    loop.call_exception_handler({"message": NAME, "future": loop.create_future(), "exception": KeyError(NAME)})
    loop.set_exception_handler(None)
    loop.call_exception_handler({"message": NAME})
    assert NAME not in lines.getvalue().encode().decode("unicode_escape")
    assert [line["event"] for line in read(lines)] == [
        "nobody waited for what failed in a callback",
        "nobody waited for what failed in a loop",
        "nobody waited for what failed in a task",
        "asyncio reports a failure",
    ]


_DYING = """
import sys, threading
from jukinet.mesh.logging import configure_logging
configure_logging("spiffe://nodes.jukinet/center")

class Bad:
    def __del__(self):
        raise KeyError("kanarienvogel")

def die():
    raise ValueError("kanarienvogel")

bad = Bad()
del bad
thread = threading.Thread(target=die)
thread.start()
thread.join()
die()
"""


def test_errors_that_nobody_caught_are_logged_without_their_text() -> None:
    done = subprocess.run([sys.executable, "-c", _DYING], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "kanarienvogel" not in done.stderr + done.stdout
    events = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert events == ["an error could not be raised", "a thread fails", "the process fails"]


def test_interrupt_is_no_failure(lines: io.StringIO) -> None:
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert lines.getvalue() == ""


def test_line_that_cannot_be_written_is_not_printed_elsewhere(
    lines: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    lines.close()
    log.error("lost %s", NAME)
    assert capsys.readouterr() == ("", "")


def test_extras_shadow_no_attribute_of_a_record() -> None:
    assert not set(EXTRA) & set(vars(logging.makeLogRecord({})))
