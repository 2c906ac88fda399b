"""`jukinet inquire-batch` asks about all whom it can and says of the others why; what it was answered is kept."""

import asyncio
import base64
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2_grpc
from jukinet.cli.batch_stream import TOGETHER, BatchStream
from jukinet.cli.development_agencies import PENSION_SERVICE
from jukinet.cli.init import Plan, write_mesh
from jukinet.cli.layout import Mesh
from jukinet.cli.output import Exit
from jukinet.ledger.verify.batch_job import CONTEXT
from jukinet.ledger.verify.json_lines import spell
from jukinet.mesh.clock import now
from jukinet.mesh.errors import Refused
from jukinet.mesh.identity import Identity
from jukinet.mesh.pki import load_signing_key
from jukinet.purpose.freshness import sign_freshness
from tests.cli.test_agency_refusals import GATEWAY, run, serving
from tests.cli.test_inquire_subject import PERSON
from tests.commands import jukinet

SOUND = json.dumps(PERSON, ensure_ascii=False)


class Answering(inquiry_pb2_grpc.InquiryServiceServicer):
    """A gateway that finds everybody; `meanwhile` is done before it answers at all.

    Args:
        key: by which it is signed how fresh the answers are.
    """

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self.key = key
        self.found = inquiry.BatchAnswer(outcome=inquiry.INQUIRY_OUTCOME_MATCH)
        """What it answers of everybody, but for how fresh it is."""
        self.said = inquiry.Freshness(municipality="131016", state=inquiry.SOURCE_STATE_CONNECTED)
        self.said_before = timedelta()
        self.asked: list[inquiry.Subject] = []
        self.meanwhile: Callable[[], object] = lambda: None

    async def InquireBatch(self, request_iterator: Any, context: Any) -> AsyncIterator[inquiry.InquireBatchResponse]:
        async for request in request_iterator:
            if not self.asked:
                self.meanwhile()
            self.asked += request.subjects
            answer, said = inquiry.BatchAnswer(), inquiry.Freshness()
            answer.CopyFrom(self.found)
            said.CopyFrom(self.said)
            for each in (said.said_at, said.complete_as_of):
                each.FromDatetime(now() - self.said_before)
            if not answer.refusal:
                answer.freshness.append(sign_freshness(said, self.key))
            yield inquiry.InquireBatchResponse(answers=[answer] * len(request.subjects))

    async def Inquire(self, request: Any, context: Any) -> Any:
        pytest.fail("a batch asks about nobody alone")

    async def VerifyIdentity(self, request: Any, context: Any) -> Any:
        pytest.fail("a batch verifies nobody")


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    return write_mesh(tmp_path_factory.mktemp("batch") / "mesh", Plan(["131016"], [GATEWAY]))


class Batch:
    """The files of one batch, and its command against a gateway."""

    def __init__(self, mesh: Mesh, folder: Path) -> None:
        self.mesh = mesh
        self.people, self.out = folder / "people", folder / "answers.jsonl"
        self.gateway = Answering(load_signing_key(mesh.folder("center") / "freshness.key"))

    def ask(self, *options: str | Path) -> tuple[int, str]:
        """Gives the exit code and what was told."""
        with self.serving():
            return self.ask_nobody(*options)

    def ask_nobody(self, *options: str | Path) -> tuple[int, str]:
        """The same while no gateway is there."""
        done = run(self.mesh, "inquire-batch", self.people, "--out", self.out, "--field", "name", *options)
        return done.exit_code, done.stderr

    def serving(self) -> AbstractContextManager[None]:
        return serving(self.mesh, (inquiry_pb2_grpc.add_InquiryServiceServicer_to_server, self.gateway))

    def answers(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.read_text("utf-8").splitlines()[1:]]


@pytest.fixture
def batch(mesh: Mesh, tmp_path: Path) -> Batch:
    return Batch(mesh, tmp_path)


def test_a_record_that_breaks_the_contract_is_told_in_its_line_and_stops_no_other(batch: Batch) -> None:
    wrong: list[tuple[str, dict[str, str]]] = [
        ("individual_number", {"individual_number": "12"}),
        ("individual_number", {"individual_number": "\ud800"}),
        ("four_items.name", {**PERSON, "name": "x" * 201}),
        ("town", {**PERSON, "town": "\ud800"}),
    ]
    lines = [SOUND, *(json.dumps(record) for _, record in wrong), *[SOUND] * TOGETHER]
    batch.people.write_text("\n".join(lines), "utf-8")
    code, told = batch.ask()
    assert (code, "a file of their own" in told) == (Exit.REFUSED, True)
    answers = batch.answers()
    assert [answer["line"] for answer in answers] == [*range(1, len(lines) + 1)]
    problems = [(answer["line"], answer["problem"]) for answer in answers if "problem" in answer]
    assert [line for line, _ in problems] == [2, 3, 4, 5]
    assert all(
        f" {name}" in problem or f"({name}" in problem for (name, _), (_, problem) in zip(wrong, problems, strict=True)
    )
    assert len(batch.gateway.asked) == TOGETHER + 1
    code, told = batch.ask()
    assert (code, "a file of their own" in told) == (Exit.REFUSED, True), "whoever goes on with it hears of them too"


def _of_another_center(gateway: Answering) -> None:
    gateway.key = Ed25519PrivateKey.generate()


def _of_better_days(gateway: Answering) -> None:
    gateway.said_before = timedelta(hours=1)


def _of_another_municipality(gateway: Answering) -> None:
    gateway.found.outcome, gateway.said.municipality = inquiry.INQUIRY_OUTCOME_NO_SINGLE_MATCH, "141003"


@pytest.mark.parametrize("spoil", [_of_another_center, _of_better_days, _of_another_municipality])
def test_answers_whose_freshness_the_center_did_not_say_are_not_kept(
    batch: Batch, spoil: Callable[[Answering], None]
) -> None:
    batch.people.write_text(SOUND, "utf-8")
    spoil(batch.gateway)
    code, told = batch.ask()
    assert (code, "on record but not to be used: of how fresh it is" in told) == (Exit.REFUSED, True), told
    assert (len(batch.gateway.asked), batch.answers()) == (1, [])


def test_of_who_is_not_found_where_was_asked_or_is_refused_nothing_else_is_wanted(batch: Batch) -> None:
    batch.people.write_text(SOUND, "utf-8")
    batch.gateway.found.outcome = inquiry.INQUIRY_OUTCOME_NO_SINGLE_MATCH
    assert batch.ask()[0] == Exit.OK
    batch.out.unlink()
    batch.gateway.found = inquiry.BatchAnswer(refusal=errors.ERROR_REASON_BUDGET_EXCEEDED)
    code, _ = batch.ask()
    assert (code, [answer["refusal"] for answer in batch.answers()]) == (
        Exit.REFUSED,
        ["ERROR_REASON_BUDGET_EXCEEDED"],
    )


HEADER = "氏名,生年月日,性別,市区町村コード,町字\n"
LINE = "架空　花子,1948-05-03,female,131016,神田\n"


@pytest.mark.parametrize(
    ("content", "held", "says"),
    [
        ((HEADER + LINE).encode("cp932"), None, "is not UTF-8"),
        ((HEADER + LINE * 3000).encode() + LINE.encode("cp932"), None, "is not UTF-8"),
        (f"shoe_size\n{LINE}".encode(), None, "the first line must name columns"),
        (b"", None, "the first line must name columns"),
        (b"\n\n", None, "the first line must name columns"),
        ((HEADER + LINE).encode(), "absent", "absent: No such file"),
        ((HEADER + LINE).encode(), "people", "does not hold the answers of a batch"),
    ],
    ids=["CP932", "CP932 at the end", "unknown column", "empty", "blank", "nothing held", "held is something else"],
)
def test_what_is_wrong_with_a_file_as_a_whole_is_told_before_anybody_is_asked(
    batch: Batch, content: bytes, held: str | None, says: str
) -> None:
    batch.people.write_bytes(content)
    code, told = batch.ask(*(("--held", batch.people.with_name(held)) if held else ()))
    assert (code, says in told) == (Exit.USAGE, True), told
    assert not batch.gateway.asked
    assert not batch.out.exists(), "a mended file is not taken for another batch's"


def test_what_was_asked_is_kept_though_the_file_cannot_be_read_on(batch: Batch) -> None:
    batch.people.write_text(HEADER + LINE * (10 * TOGETHER), "utf-8")

    def spoil() -> None:
        with batch.people.open("ab") as file:
            file.write(LINE.encode("cp932"))

    batch.gateway.meanwhile = spoil
    code, told = batch.ask()
    assert (code, "is not UTF-8" in told) == (Exit.USAGE, True), told
    lines = [answer["line"] for answer in batch.answers()]
    assert lines == [*range(2, len(batch.gateway.asked) + 2)]
    assert len(lines) > 4 * TOGETHER


@pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGTERM])
def test_a_batch_that_is_interrupted_while_the_gateway_is_away_says_so(
    batch: Batch, monkeypatch: pytest.MonkeyPatch, ends: signal.Signals
) -> None:
    waits: list[float] = []

    def interrupted(_: float, longest: float) -> float:
        waits.append(longest)
        if len(waits) == 1:
            signal.raise_signal(ends)
        return 0.0

    monkeypatch.setattr("jukinet.cli.retry.random.uniform", interrupted)
    batch.people.write_text(HEADER + LINE * (2 * TOGETHER), "utf-8")
    code, told = batch.ask_nobody("--seconds", "60")
    assert (code, told) == (Exit.UNREACHABLE, "Interrupted. What came is kept; the same command goes on.\n")
    assert batch.answers() == []


def test_a_batch_in_which_nobody_is_left_to_ask_about_needs_no_gateway(batch: Batch) -> None:
    batch.people.write_text("{}\n" * (TOGETHER + 1), "utf-8")
    code, told = batch.ask_nobody()
    assert (code, "a file of their own" in told) == (Exit.REFUSED, True), told
    assert [(answer["line"], "problem" in answer) for answer in batch.answers()] == [
        (line, True) for line in range(1, TOGETHER + 2)
    ]
    batch.out.unlink()
    batch.people.write_text(HEADER + LINE, "utf-8")
    assert batch.ask()[0] == Exit.OK
    assert batch.ask_nobody()[0] == Exit.OK, "a batch that is finished stays so"


def test_a_stream_that_grpc_cancels_is_opened_again(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, opened = BatchStream._keep_first, 0

    def cancelled(*arguments: Any) -> None:
        nonlocal opened
        opened += 1
        if opened == 1:
            raise asyncio.CancelledError
        kept(*arguments)

    monkeypatch.setattr(BatchStream, "_keep_first", cancelled)
    batch.people.write_text(HEADER + LINE, "utf-8")
    assert batch.ask() == (Exit.OK, "")
    assert len(batch.answers()) == 1


@pytest.mark.parametrize(
    ("reason", "code", "says"),
    [
        (errors.ERROR_REASON_OPERATOR_PROOF_EXPIRED, Exit.UNREACHABLE, "Log on again: the same command goes on."),
        (errors.ERROR_REASON_OPERATOR_PROOF_INVALID, Exit.FORBIDDEN, "What came is kept.\n"),
    ],
)
def test_a_batch_whose_log_on_is_too_old_for_a_gateway_that_came_back_goes_on_after_another(
    batch: Batch, reason: "errors.ErrorReason.ValueType", code: Exit, says: str
) -> None:
    def refuse() -> None:
        raise Refused(reason)

    batch.gateway.meanwhile = refuse
    batch.people.write_text(HEADER + LINE, "utf-8")
    ended, told = batch.ask()
    assert (ended, says in told) == (code, True), told
    batch.gateway.meanwhile = lambda: None
    assert batch.ask()[0] == Exit.OK


@pytest.mark.parametrize(
    ("first", "then", "says"),
    [
        (("--for-watch",), (), "for watch"),
        (("--max-age", "60"), ("--max-age", "1"), "max age"),
        ((), ("--seal-until", "2027-04-01"), "sealed until"),
    ],
)
def test_a_batch_goes_on_only_as_it_was_begun(
    batch: Batch, first: tuple[str, ...], then: tuple[str, ...], says: str
) -> None:
    batch.people.write_text(HEADER + LINE, "utf-8")
    assert batch.ask(*first)[0] == Exit.OK
    begun = batch.out.read_bytes()
    code, told = batch.ask(*then)
    assert (code, f"by its {says}. Go on as it was begun" in told) == (Exit.USAGE, True), told
    assert (batch.out.read_bytes(), len(batch.gateway.asked)) == (begun, 1)
    assert batch.ask(*first)[0] == Exit.OK


def test_a_batch_of_another_agency_or_case_or_of_an_older_version_does_not_go_on(batch: Batch) -> None:
    batch.people.write_text(HEADER + LINE, "utf-8")
    assert batch.ask()[0] == Exit.OK
    header, *rest = batch.out.read_text("utf-8").splitlines(keepends=True)
    begun = json.loads(header)
    assert (begun["agency"], begun["case"]) == (Identity("agency", PENSION_SERVICE).uri, "case-1")
    for name in ("agency", "case"):
        batch.out.write_text("".join([json.dumps({**begun, name: "another"}) + "\n", *rest]), "utf-8")
        code, told = batch.ask()
        assert (code, f"by its {name}." in told) == (Exit.USAGE, True)
    former = {key: begun[key] for key in ("format", "questions_sha256", "purpose", "fields")}
    batch.out.write_text("".join([json.dumps(former) + "\n", *rest]), "utf-8")
    code, told = batch.ask()
    assert (code, "does not say its agency, case, for watch, max age, sealed until" in told) == (Exit.USAGE, True)
    assert len(batch.gateway.asked) == 1


def test_a_signed_job_that_names_nobody_is_told_and_not_asked(batch: Batch, tmp_path: Path) -> None:
    batch.people.write_text(SOUND, "utf-8")
    job, key = tmp_path / "job", load_signing_key(batch.mesh.operator_key(Identity("agency", PENSION_SERVICE), "op-7"))
    assert run(batch.mesh, "batch-job", "sign", batch.people, "--out", job, "--field", "name").exit_code == Exit.OK
    order = json.loads(job.read_bytes().splitlines()[0])
    person = b'{"shoe_size":1}\n'
    line = spell({**order, "persons_sha256": sha256(person).hexdigest()}).encode()
    signature = base64.b64encode(key.sign(CONTEXT + line)).decode()
    job.write_bytes(line + b"\n" + spell({"signature": signature}).encode() + b"\n" + person)
    with batch.serving():
        done = jukinet("batch-job", "run", job, "--out", batch.out, "--mesh", batch.mesh.root, "--operator", "op-7")
    assert (done.exit_code, "not a person of the contract" in done.stderr) == (Exit.REFUSED, True)
    assert not batch.gateway.asked
