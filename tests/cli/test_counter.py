"""A counter's command: the resident code from a file alone, and a plain word where something is missing."""

from pathlib import Path

import grpc
import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.cli.connect import TlsOptions
from jukinet.cli.counter import open_counter
from jukinet.cli.init import Plan, write_mesh
from jukinet.cli.layout import Mesh
from jukinet.cli.output import Failure
from jukinet.mesh.errors import Refused, to_status
from tests.commands import jukinet

CODE = "00180340637"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    plan = Plan(["131016"], ["gateway-1"], witnesses=1, disclosure=True)
    return write_mesh(tmp_path_factory.mktemp("counter") / "mesh", plan)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "code.txt"
    path.write_text(f"{CODE}\n")
    return path


def command(*words: str) -> tuple[int, str]:
    result = jukinet("disclosure", *words)
    return result.exit_code, result.output


BY_CLERK = ("--clerk", "7", "--proof", "photo-document")


@pytest.mark.parametrize("content", [b"", b"123", b"1234567890x", "１２３４５６７８９０１".encode(), b"\xff" * 11])
def test_a_file_without_a_code_is_not_repeated(mesh: Mesh, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "code.txt"
    path.write_bytes(content)
    exit_code, output = command("request", str(path), *BY_CLERK, "--mesh", str(mesh.root), "--counter", "131016")
    assert exit_code == 2
    assert "1234567890x" not in output


def test_what_is_missing_or_unknown_is_named(mesh: Mesh, code: Path, tmp_path: Path) -> None:
    in_mesh = ("--mesh", str(mesh.root), "--counter", "131016")
    for words, exit_code, named in (
        (("request", str(code), *BY_CLERK), 2, "--check-key"),
        (("request", str(tmp_path / "none"), *BY_CLERK, *in_mesh), 2, "FileNotFoundError"),
        (("request", str(code), "--clerk", "7", "--proof", "a-nod", *in_mesh), 2, "two-documents"),
        (("request", str(code), *BY_CLERK, "--mesh", str(mesh.root), "--counter", "142018"), 2, "counter-131016"),
        (("request", str(code), *BY_CLERK, "--mesh", str(mesh.root), "--counter", "No Label"), 2, "--counter"),
        (("extend", CODE, "--due", "2027-01-01", "--reason", "whim", "--document", "1", *in_mesh), 2, "disaster"),
        (("answer-correction", CODE, "--outcome", "lost", "--document", "1", *in_mesh), 2, "not-corrected"),
        (("close", CODE, "--reason", "tired", "--document", "1", *in_mesh), 2, "not-answerable"),
        (("close", CODE, "--reason", "withdrawn", *in_mesh), 2, "--resident"),
        (("close", CODE, "--reason", "withdrawn", "--resident", str(code), *in_mesh), 2, "--clerk"),
        (("close", CODE, "--reason", "deceased", "--resident", str(code), *BY_CLERK, *in_mesh), 2, "withdrawn"),
        (("request", str(code), *BY_CLERK, *in_mesh), 3, "127.0.0.1"),  # nothing runs
        (("request", str(code), *BY_CLERK, *in_mesh), 3, "look there before you ask again"),
    ):
        found, output = command(*words)
        assert (found, named in output) == (exit_code, True), (words, output)
        assert words[0] != "request" or CODE not in output


class Node:
    """Loses as many answers as it is told, or refuses."""

    def __init__(self, lost: int, refusal: "errors.ErrorReason.ValueType | None" = None) -> None:
        self.asked, self._lost = 0, lost
        self._failure = (grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "")
        if refusal is not None:
            status = to_status(Refused(refusal), "0" * 16)
            code = next(each for each in grpc.StatusCode if each.value[0] == status.code)
            details = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
            self._failure = (code, grpc.aio.Metadata(), details, status.message)

    async def ask(self, _stub: object) -> str:
        self.asked += 1
        if self.asked <= self._lost:
            raise grpc.aio.AioRpcError(*self._failure)
        return "told"


def test_a_call_under_a_check_is_made_once_more_where_its_answer_is_lost_and_no_other_is(mesh: Mesh) -> None:
    counter = open_counter(mesh.root, "131016", TlsOptions(), None)
    lossy = Node(lost=1)
    assert counter.call(lossy.ask, under="number-7") == "told"
    assert lossy.asked == 2
    with pytest.raises(Failure, match="number-7"):
        counter.call(Node(lost=2).ask, under="number-7")
    without_check = Node(lost=1)
    with pytest.raises(Failure):
        counter.call(without_check.ask)
    refusing = Node(lost=1, refusal=errors.ERROR_REASON_LEDGER_UNAVAILABLE)
    with pytest.raises(Failure, match="LEDGER_UNAVAILABLE"):
        counter.call(refusing.ask, under="number-7")
    assert (without_check.asked, refusing.asked) == (1, 1)


def test_a_usage_file_that_exists_is_left_alone(mesh: Mesh, code: Path, tmp_path: Path) -> None:
    out = tmp_path / "usage.json"
    out.write_text("kept")
    days = ("--first", "2026-01-01", "--last", "2026-01-31")
    words = ("usage", str(code), *days, "--out", str(out), *BY_CLERK, "--mesh", str(mesh.root), "--counter", "131016")
    assert command(*words)[0] == 2
    assert out.read_text() == "kept"
    out.unlink()
    assert command(*words)[0] == 3
    assert not out.exists()
    wrong = ("usage", str(code), "--first", "yesterday", "--last", "2026-01-31", "--out", str(out), *BY_CLERK)
    exit_code, output = command(*wrong, "--mesh", str(mesh.root), "--counter", "131016")
    assert (exit_code, "--first" in output) == (2, True)
