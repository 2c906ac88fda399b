"""What an agency's commands say when a gateway refuses or stays away: reason, remedy, field, what is kept."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import Result

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2_grpc
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import Freshness
from jukinet._pb.jukinet.watch.v1 import watch_pb2, watch_pb2_grpc
from jukinet.cli.init import Plan, write_mesh
from jukinet.cli.layout import Mesh
from jukinet.cli.output import Exit
from jukinet.mesh.clock import now, today_in_japan
from jukinet.mesh.errors import Refused
from jukinet.mesh.pki import load_signing_key
from jukinet.mesh.server import build_server, drain
from jukinet.purpose.freshness import sign_freshness
from tests.cli.test_inquire_subject import PERSON
from tests.commands import jukinet

GATEWAY = "gateway-1"


@pytest.fixture
def mesh(tmp_path: Path) -> Mesh:
    return write_mesh(tmp_path / "mesh", Plan(["131016"], [GATEWAY]))


@pytest.fixture
def people(tmp_path: Path) -> Path:
    path = tmp_path / "people.jsonl"
    path.write_text(json.dumps(PERSON) + "\n", "utf-8")
    return path


class Telling(watch_pb2_grpc.WatchServiceServicer):
    """Tells one change, and up to when nothing is missing."""

    def __init__(self, of_change: Freshness, of_all: Freshness) -> None:
        self.of_change = of_change
        self.of_all = of_all
        self.asked: list[int | None] = []
        """From which place on."""

    async def WatchChanges(self, request_iterator: Any, context: Any) -> AsyncIterator[watch_pb2.WatchChangesResponse]:
        async for request in request_iterator:
            self.asked.append(request.place.after if request.place.HasField("after") else None)
            if request.place.after:
                yield watch_pb2.WatchChangesResponse(freshness=self.of_all)
            else:
                change = watch_pb2.ToldChange(position=7, freshness=self.of_change)
                yield watch_pb2.WatchChangesResponse(changes=[change])

    async def Watch(self, request: Any, context: Any) -> Any:
        pytest.fail("nobody is put on a list")

    async def EndWatch(self, request: Any, context: Any) -> Any:
        pytest.fail("no list is ended")


def _said(municipality: str, key: Ed25519PrivateKey) -> Freshness:
    statement = Freshness(municipality=municipality)
    statement.said_at.FromDatetime(now())
    return sign_freshness(statement, key)


class Watching(watch_pb2_grpc.WatchServiceServicer):
    """Puts the persons of one call on their list, and refuses all that comes later."""

    def __init__(self) -> None:
        self.lists: list[str] = []

    async def Watch(self, request: watch_pb2.WatchRequest, context: Any) -> watch_pb2.WatchResponse:
        self.lists.append(request.order.list_id)
        if len(self.lists) > 1:
            raise Refused(errors.ERROR_REASON_LEDGER_UNAVAILABLE)
        return watch_pb2.WatchResponse(numbers=range(1, len(request.order.handles) + 1))

    async def WatchChanges(self, request_iterator: Any, context: Any) -> AsyncIterator[watch_pb2.WatchChangesResponse]:
        async for _ in request_iterator:
            raise Refused(errors.ERROR_REASON_WATCH_POSITION, field="place.after")
        yield watch_pb2.WatchChangesResponse()

    async def EndWatch(self, request: watch_pb2.EndWatchRequest, context: Any) -> watch_pb2.EndWatchResponse:
        raise Refused(errors.ERROR_REASON_WATCH_UNKNOWN)


class Inquiring(inquiry_pb2_grpc.InquiryServiceServicer):
    """Refuses whatever it is asked about persons."""

    def __init__(self, reason: "errors.ErrorReason.ValueType", limit: str = "") -> None:
        self.reason = reason
        self.limit = limit

    async def InquireBatch(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        async for _ in request_iterator:
            raise Refused(self.reason)
        yield

    async def Inquire(self, request: Any, context: Any) -> Any:
        raise Refused(self.reason, limit=self.limit)

    async def VerifyIdentity(self, request: Any, context: Any) -> Any:
        raise Refused(self.reason)


@contextmanager
def serving(mesh: Mesh, *services: Any) -> Iterator[None]:
    """A gateway in a thread of its own: the commands handle signals, and so need the main one."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()

    async def started() -> Any:
        config = mesh.config(GATEWAY)
        node = build_server(identity=config.identity, listen=config.listen, tls=config.tls, services=services)
        await node.start()
        return node

    node = asyncio.run_coroutine_threadsafe(started(), loop).result()
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(drain(node, grace_seconds=1), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def run(mesh: Mesh, *words: str | Path) -> Result:
    affair = ("--agency", "pension-service", "--purpose", "B1-77.12", "--case", "case-1", "--operator", "op-7")
    return jukinet(*words, "--mesh", mesh.root, *affair)


def test_whoever_is_on_a_new_list_is_on_one_whose_id_was_told_though_a_later_call_failed(
    mesh: Mesh, tmp_path: Path
) -> None:
    answers = tmp_path / "answers.jsonl"
    handle = base64.b64encode(bytes(64)).decode()
    answers.write_text("".join(json.dumps({"line": line, "handle": handle}) + "\n" for line in range(65)))
    expires = (today_in_japan() + timedelta(days=30)).isoformat()
    watching = Watching()
    with serving(mesh, (watch_pb2_grpc.add_WatchServiceServicer_to_server, watching)):
        begun = run(mesh, "watch", "begin", answers, "--expires", expires, "--field", "address")
    first, *rest = begun.stderr.splitlines()
    assert begun.exit_code == Exit.UNREACHABLE
    assert len(watching.lists) == 2
    assert first.endswith(f" --list {watching.lists[0]}")
    assert rest[0].startswith("LEDGER_UNAVAILABLE: ")


def test_a_match_without_a_handle_is_left_out_of_a_list_only_on_demand(mesh: Mesh, tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    handle, match = base64.b64encode(bytes(64)).decode(), "INQUIRY_OUTCOME_MATCH"
    told = [{"line": 1, "outcome": match, "handle": handle}, *({"line": line, "outcome": match} for line in (2, 3))]
    nobody = {"line": 4, "outcome": "INQUIRY_OUTCOME_NO_SINGLE_MATCH"}
    lines = [{"format": "x"}, *told, nobody, {"line": 5, "problem": "x"}]
    answers.write_text("".join(json.dumps(line) + "\n" for line in lines))
    expires = (today_in_japan() + timedelta(days=30)).isoformat()
    words = ("watch", "begin", answers, "--expires", expires, "--field", "address")
    watching = Watching()
    with serving(mesh, (watch_pb2_grpc.add_WatchServiceServicer_to_server, watching)):
        refused = run(mesh, *words)
        assert (refused.exit_code, watching.lists) == (Exit.USAGE, [])
        assert refused.stderr.startswith(f"2 of 3 matches in {answers} have no handle; nobody was put on a list.")
        begun = run(mesh, *words, "--leave-out", "--json")
    assert (begun.exit_code, json.loads(begun.stdout)["numbers"]) == (Exit.OK, [1])
    assert begun.stderr.startswith(f"2 of 3 matches in {answers} have no handle and are left out.")


def test_a_list_that_cannot_go_on_is_told_with_the_remedy_and_the_field(mesh: Mesh, tmp_path: Path) -> None:
    list_id = "5f7d1c1e-0000-4000-8000-000000000001"
    with serving(mesh, (watch_pb2_grpc.add_WatchServiceServicer_to_server, Watching())):
        taken = run(mesh, "watch", "changes", "--list", list_id, "--out", tmp_path / "changes.jsonl")
    reason, field, error_id, kept = taken.stderr.splitlines()
    assert taken.exit_code == Exit.USAGE
    assert reason.startswith("WATCH_POSITION: The list cannot go on from there")
    assert (field, kept) == ("  place.after: WATCH_POSITION", "What came is kept.")
    assert error_id.startswith("  error id ")


@pytest.mark.parametrize(
    ("of_change", "of_all", "whose", "kept"),
    [
        ("131016", "", "center", [7]),
        ("131016", "131016", "center", [7]),
        ("131016", "", "another", []),
    ],
    ids=["the center's", "one municipality's word for all", "another center's"],
)
def test_changes_are_taken_with_the_centers_word_of_how_fresh_they_are_alone(
    mesh: Mesh, tmp_path: Path, of_change: str, of_all: str, whose: str, kept: list[int]
) -> None:
    key = load_signing_key(mesh.folder("center") / "freshness.key")
    signer = key if whose == "center" else Ed25519PrivateKey.generate()

    out, sound = tmp_path / "changes.jsonl", whose == "center" and not of_all
    telling = Telling(_said(of_change, signer), _said(of_all, signer))
    with serving(mesh, (watch_pb2_grpc.add_WatchServiceServicer_to_server, telling)):
        taken = run(mesh, "watch", "changes", "--list", "5f7d1c1e-0000-4000-8000-000000000001", "--out", out)
    assert (taken.exit_code, "not to be used" in taken.stderr) == (Exit.OK if sound else Exit.REFUSED, not sound)
    assert [json.loads(line)["line"] for line in out.read_text("utf-8").splitlines()[1:]] == kept


def test_a_file_of_another_list_is_named_and_left_alone(mesh: Mesh, tmp_path: Path) -> None:
    out, other = tmp_path / "changes.jsonl", "5f7d1c1e-0000-4000-8000-000000000002"
    header = {"format": "jukinet-watch-changes/1", "list_id": other, "purpose": "B1-77.12"}
    out.write_text(f'{json.dumps(header)}\n{{"line": 7}}\n')
    before = out.read_bytes()
    taken = run(mesh, "watch", "changes", "--list", "5f7d1c1e-0000-4000-8000-000000000001", "--out", out)
    assert taken.exit_code == Exit.USAGE
    assert taken.stderr.startswith(f"{out} was begun otherwise, by its list id.")
    assert out.read_bytes() == before


@pytest.mark.parametrize("command", ["watch changes", "inquire-batch"])
def test_a_file_of_another_command_is_named_and_left_alone(
    mesh: Mesh, people: Path, tmp_path: Path, command: str
) -> None:
    out, list_id = tmp_path / "file.jsonl", "5f7d1c1e-0000-4000-8000-000000000001"
    of_changes = command == "inquire-batch"
    kinds = ["jukinet-watch-changes/1", "jukinet-batch-answers/1"]
    there, wanted = kinds if of_changes else reversed(kinds)
    out.write_text(f'{{"format": "{there}", "list_id": "{list_id}", "purpose": "B1-77.12"}}\n{{"line": 7}}\n')
    before = out.read_bytes()
    words = [people, "--field", "name"] if of_changes else ["--list", list_id]
    taken = run(mesh, *command.split(), *words, "--out", out)
    assert (taken.exit_code, out.read_bytes()) == (Exit.USAGE, before)
    assert f"{out} is a file of {there} and not of {wanted}. Name another file" in taken.stderr
    assert ("with --go-on if an earlier version began this one" in taken.stderr) != of_changes


@pytest.mark.parametrize(("options", "after"), [((), 0), (("--go-on",), None)])
def test_a_new_file_begins_with_its_list_unless_it_is_to_go_on_where_the_list_stands(
    mesh: Mesh, tmp_path: Path, options: tuple[str, ...], after: int | None
) -> None:
    signer = load_signing_key(mesh.folder("center") / "freshness.key")
    telling = Telling(*(_said(code, signer) for code in ("131016", "")))
    words = ("watch", "changes", "--list", "5f7d1c1e-0000-4000-8000-000000000001", "--out", tmp_path / "file.jsonl")
    with serving(mesh, (watch_pb2_grpc.add_WatchServiceServicer_to_server, telling)):
        for _ in range(2):
            assert run(mesh, *words, *options).exit_code == Exit.OK
    assert telling.asked == [after, 7, 7]


def test_to_end_a_list_that_is_not_there_is_an_error_of_usage(mesh: Mesh) -> None:
    list_id = "5f7d1c1e-0000-4000-8000-000000000001"
    with serving(mesh, (watch_pb2_grpc.add_WatchServiceServicer_to_server, Watching())):
        ended = run(mesh, "watch", "end", "--list", list_id)
    assert (ended.exit_code, ended.stderr.partition(":")[0]) == (Exit.USAGE, "WATCH_UNKNOWN")


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (errors.ERROR_REASON_PURPOSE_NOT_GRANTED, Exit.FORBIDDEN),
        (errors.ERROR_REASON_BUDGET_EXCEEDED, Exit.UNREACHABLE),
        (errors.ERROR_REASON_INVALID_MESSAGE, Exit.USAGE),
    ],
)
def test_a_refused_batch_says_the_catalogues_text_and_names_no_other_node(
    mesh: Mesh, people: Path, tmp_path: Path, reason: "errors.ErrorReason.ValueType", code: Exit
) -> None:
    service = (inquiry_pb2_grpc.add_InquiryServiceServicer_to_server, Inquiring(reason))
    with serving(mesh, service):
        asked = run(mesh, "inquire-batch", people, "--out", tmp_path / "answers.jsonl", "--field", "name")
    facts = errors.ErrorReason.DESCRIPTOR.values_by_number[reason].GetOptions().Extensions[errors.facts]
    name = errors.ErrorReason.Name(reason).removeprefix("ERROR_REASON_")
    first, *_, last = asked.stderr.splitlines()
    assert (asked.exit_code, first, last) == (code, f"{name}: {facts.message}", "What came is kept.")


def test_a_batch_that_is_not_answered_in_time_says_what_may_stand_twice_in_the_ledger(
    mesh: Mesh, people: Path, tmp_path: Path
) -> None:
    words = ("inquire-batch", people, "--out", tmp_path / "answers.jsonl", "--field", "name", "--seconds", "0.2")
    asked = run(mesh, *words)
    assert asked.exit_code == Exit.UNREACHABLE
    assert "nothing is doubled" not in asked.stderr
    assert "have two ledger entries" in asked.stderr


class Forgetful(watch_pb2_grpc.WatchServiceServicer):
    """Was started again, and knows of no session."""

    async def Watch(self, request: Any, context: Any) -> Any:
        pytest.fail("nobody is put on a list")

    async def WatchChanges(self, request_iterator: Any, context: Any) -> AsyncIterator[watch_pb2.WatchChangesResponse]:
        async for _ in request_iterator:
            raise Refused(errors.ERROR_REASON_OPERATOR_PROOF_EXPIRED)
        yield watch_pb2.WatchChangesResponse()

    async def EndWatch(self, request: Any, context: Any) -> Any:
        raise Refused(errors.ERROR_REASON_OPERATOR_PROOF_EXPIRED)


@pytest.mark.parametrize("command", ["watch changes", "watch end", "inquire", "inquire-batch"])
def test_every_command_whose_operator_is_to_log_on_again_ends_as_one_that_may_be_tried_again(
    mesh: Mesh, people: Path, tmp_path: Path, command: str
) -> None:
    out, of_list = ("--out", tmp_path / "file.jsonl"), ("--list", "5f7d1c1e-0000-4000-8000-000000000001")
    words: dict[str, tuple[str | Path, ...]] = {
        "watch changes": (*of_list, *out),
        "watch end": of_list,
        "inquire": ("--subject", people, "--field", "name"),
        "inquire-batch": (people, *out, "--field", "name"),
    }
    services = (
        (watch_pb2_grpc.add_WatchServiceServicer_to_server, Forgetful()),
        (
            inquiry_pb2_grpc.add_InquiryServiceServicer_to_server,
            Inquiring(errors.ERROR_REASON_OPERATOR_PROOF_EXPIRED),
        ),
    )
    with serving(mesh, *services):
        ended = run(mesh, *command.split(), *words[command])
    assert (ended.exit_code, ended.stderr.partition(":")[0]) == (Exit.UNREACHABLE, "OPERATOR_PROOF_EXPIRED")
    assert ("Log on again: the same command goes on." in ended.stderr) == ("--out" in words[command])


@pytest.mark.parametrize(
    ("limit", "wait"),
    [
        ("operator_searches_minute", "wait a minute"),
        ("agency_searches_day", "wait until midnight in Japan"),
        ("row_questions_day", "wait until midnight in Japan"),
    ],
)
def test_whoever_is_over_a_limit_reads_which_one_and_how_long_to_wait(
    mesh: Mesh, people: Path, limit: str, wait: str
) -> None:
    service = Inquiring(errors.ERROR_REASON_BUDGET_EXCEEDED, limit)
    with serving(mesh, (inquiry_pb2_grpc.add_InquiryServiceServicer_to_server, service)):
        asked = run(mesh, "inquire", "--subject", people, "--field", "name")
    assert asked.exit_code == Exit.UNREACHABLE
    assert asked.stderr.splitlines()[1] == f"  {limit}: {wait}"
