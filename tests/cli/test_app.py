"""The command line as a whole: every command explains itself, starts fast, and has the exit codes that it documents."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import typer

from jukinet import __version__
from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet.cli.app import build
from jukinet.cli.output import Exit, Failure, fail_call
from jukinet.mesh.errors import FieldViolation, Refused, code_of, to_status
from tests.commands import app, jukinet


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, inner in getattr(command, "commands", {}).items():
        yield (*path, name), inner
        yield from commands(inner, (*path, name))


ALL = dict(commands(typer.main.get_command(app)))
LEAVES = [path for path, command in ALL.items() if not hasattr(command, "commands")]


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_says_what_it_is_for_and_gives_an_example(path: tuple[str, ...]) -> None:
    result = jukinet(*path, "--help")
    assert result.exit_code == Exit.OK
    assert f"Example: jukinet {' '.join(path)}" in result.output


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_option_and_argument_is_explained(path: tuple[str, ...]) -> None:
    hidden = {"help"}
    for parameter in ALL[path].params:
        assert parameter.name in hidden or parameter.help, f"{' '.join(path)}: {parameter.name}"


@pytest.mark.parametrize(
    "path",
    [
        ("demo",),
        ("mesh", "init"),
        ("mesh", "up"),
        ("mesh", "status"),
        ("node", "run"),
        ("nation", "residents"),
        ("nation", "changes"),
        ("submit",),
        ("inquire",),
        ("verify-identity",),
        ("admin", "status"),
        ("admin", "parked"),
        ("ledger", "verify"),
    ],
    ids=" ".join,
)
def test_the_commands_that_others_rely_on_exist(path: tuple[str, ...]) -> None:
    assert path in ALL


def test_help_names_every_exit_code() -> None:
    result = jukinet("--help")
    for code in Exit:
        assert f" {code.value} " in result.output


def test_help_loads_nothing_that_only_a_command_needs() -> None:
    heavy = ("grpc", "sqlalchemy", "cryptography", "google.protobuf", "opentelemetry", "cedarpy", "nation")
    program = (
        "import sys, jukinet.cli.app; jukinet.cli.app.build();"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("word", sorted({path[0] for path in ALL}))
def test_a_command_built_alone_has_everything_below_it(word: str) -> None:
    alone = dict(commands(typer.main.get_command(build(word))))
    assert list(alone) == [path for path in ALL if path[0] == word]


def test_a_start_loads_no_command_that_is_not_called() -> None:
    program = (
        "import sys, jukinet.cli.app; jukinet.cli.app.build('node');"
        "print([place for place in jukinet.cli.app._PLACES.values()"
        " if 'jukinet.cli.' + place.split('.')[0] in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "['node.app']"


@pytest.mark.parametrize("words", [["--help"], ["no-such-command"], ["--no-such-option", "node"], []], ids=" ".join)
def test_what_is_no_command_finds_every_command(words: list[str]) -> None:
    first = words[0] if words else None
    assert list(dict(commands(typer.main.get_command(build(first))))) == list(ALL)


def test_the_package_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "jukinet.cli", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == __version__


def test_an_unknown_command_is_wrong_usage() -> None:
    assert jukinet("no-such-command").exit_code == Exit.USAGE


class _Call(Exception):
    """A failed call as gRPC raises it."""

    def __init__(self, code: grpc.StatusCode, details: bytes | None = None, message: str = "") -> None:
        super().__init__()
        self._code, self._details, self._message = code, details, message

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._message

    def trailing_metadata(self) -> list[tuple[str, bytes]]:
        return [("grpc-status-details-bin", self._details)] if self._details else []


def refused_call(reason: errors_pb2.ErrorReason.ValueType, **more: Any) -> _Call:
    status = to_status(Refused(reason, **more), "e1")
    return _Call(code_of(reason), status.SerializeToString(), status.message)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (errors_pb2.ERROR_REASON_PRIVATE_SECTOR_BANNED, Exit.FORBIDDEN),
        (errors_pb2.ERROR_REASON_IDENTITY_UNCLEAR, Exit.FORBIDDEN),
        (errors_pb2.ERROR_REASON_DRAINING, Exit.UNREACHABLE),
        (errors_pb2.ERROR_REASON_OVERLOADED, Exit.UNREACHABLE),
        (errors_pb2.ERROR_REASON_INVALID_MESSAGE, Exit.USAGE),
        (errors_pb2.ERROR_REASON_VERSION_CONFLICT, Exit.REFUSED),
    ],
)
def test_a_refusal_ends_with_the_code_of_its_kind(reason: errors_pb2.ErrorReason.ValueType, expected: Exit) -> None:
    with pytest.raises(Failure) as failure:
        fail_call(refused_call(reason), "127.0.0.1:1")
    assert failure.value.code is expected


def test_a_refusal_is_told_by_reason_text_fields_and_error_id() -> None:
    violation = FieldViolation("context.purpose", "string.pattern")
    with pytest.raises(Failure) as failure:
        fail_call(refused_call(errors_pb2.ERROR_REASON_INVALID_MESSAGE, violations=[violation]), "127.0.0.1:1")
    text = str(failure.value)
    assert text.startswith("INVALID_MESSAGE: ")
    assert "context.purpose: string.pattern" in text
    assert "error id e1" in text


def test_a_call_that_reached_no_node_is_unreachable_and_keeps_foreign_texts_out() -> None:
    with pytest.raises(Failure) as failure:
        fail_call(_Call(grpc.StatusCode.UNAVAILABLE, message="secret of a library"), "127.0.0.1:1")
    assert failure.value.code is Exit.UNREACHABLE
    assert "127.0.0.1:1" in str(failure.value)
    assert "secret" not in str(failure.value)
