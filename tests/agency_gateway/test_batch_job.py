"""The result of a signed file job is checked offline: whatever is left out, changed, added or moved is found."""

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.protobuf import json_format

from agency_gateway.batch_seal import sign_answers
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.register.v1 import change_pb2
from jukinet._pb.jukinet.register.v1.identity_pb2 import CalendarDate
from jukinet.cli.batch_answers import BatchAnswers
from jukinet.cli.batch_job import _Work
from jukinet.cli.held_marks import read_marks, with_marks
from jukinet.cli.job_file import write_job
from jukinet.cli.lines_settled import LinesSettled
from jukinet.cli.output import Failure
from jukinet.cli.retry import passes as keeps_trying
from jukinet.ledger.note import Signer
from jukinet.ledger.verify.batch_job import (
    LIFETIME,
    Job,
    Order,
    format_time,
    person_lines,
    put_persons,
    read_head,
    read_person,
)
from jukinet.ledger.verify.batch_report import BatchReport
from jukinet.ledger.verify.batch_result import FORMAT, TOGETHER, verify_batch
from jukinet.ledger.verify.json_lines import spell
from jukinet.mesh.clock import now
from jukinet.mesh.errors import code_of
from jukinet.mesh.pki import create_signing_key, load_signing_key
from jukinet.purpose.decision import PurposePolicy
from jukinet.purpose.freshness import sign_freshness
from jukinet.store.schema import residents
from tests.agency_gateway.agencies import signed
from tests.agency_gateway.test_seals import later
from tests.purpose.drafts import draft

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
PERSONS = 2 * TOGETHER + 22
"""In two whole messages and one of 22."""
SECOND, THIRD = TOGETHER + 2, 2 * TOGETHER + 3
"""Where in the result these messages begin: behind the head, and each behind the line that closes the one before."""
Lines = list[dict[str, Any]]


class Case:
    """A job, its result and the keys to check them by."""

    def __init__(self, folder: Path, network: Network) -> None:
        self.folder, self.network = folder, network
        self.job, self.result = folder / "job", folder / "result"
        self.ledger_key = folder / "ledger.vkey"
        self.ledger_key.write_text(f"{network.signer.verifier}\n", "utf-8")
        self.private, self.public = create_signing_key(folder, "op-7")

    def order(self, numbers: list[int], held: Path | None = None, **changed: Any) -> Order:
        given = {"ordered_at": format_time(now()), "max_age": 0, "for_watch": False, "sealed_until": ""}
        order = Order(
            **{
                "agency": "spiffe://agencies.jukinet/agency/pension-service",
                "purpose": "B1-77.12",
                "case": "case-1",
                "ordered_by": "op-7",
                "fields": ["NAME", "BIRTH_DATE"],
                **given,
                "persons": 0,
                "persons_sha256": "",
                **changed,
            }
        )
        people = [inquiry.Subject(four_items=self.network.four_items(self.network.record_of(each))) for each in numbers]
        persons = with_marks(enumerate(people, 1), read_marks(held))
        return write_job(self.job, order, persons, load_signing_key(self.private))

    def head(self) -> Job:
        with self.job.open("rb") as file:
            return read_head(file)

    async def run(self, *, up_to: int = 1000) -> None:
        """Asks as `batch-job run` does, message by message, without a channel."""
        head = self.head()
        with (
            self.job.open("rb") as job,
            BatchAnswers(self.result, {"job": head.digest.hex()}, kind=FORMAT, closed_by="message") as answers,
        ):
            work = _Work(self.job, job, answers, "op-1", LinesSettled())
            for message in [*work.messages()][:up_to]:
                request = head.order.question()
                request.job = head.digest
                request.context.operator, request.context.request_id = "op-1", self.network.context().request_id
                put_persons(request, message.persons)
                (response,) = await self.network.inquire_batch(signed(request))
                work.keep(message, response)

    def lines(self) -> Lines:
        return [json.loads(line) for line in self.result.read_text("utf-8").splitlines()]

    def signed_anew(self, lines: Lines) -> Lines:
        """The same with the first message signed by the gateway as it stands there."""
        head, message = self.head(), lines[SECOND - 1]["message"]
        response = json_format.ParseDict({**message, "answers": []}, inquiry.InquireBatchResponse())
        response.ClearField("signature")
        for line in lines[1 : SECOND - 1]:
            parts = {name: value for name, value in line.items() if name not in ("line", "person")}
            json_format.ParseDict(parts, response.answers.add())
        request = head.order.question()
        request.job = head.digest
        request.context.operator, request.context.request_id = "op-1", response.request_id
        with self.job.open("rb") as file:
            read_head(file)
            put_persons(request, (read_person(line) for _, line in islice(person_lines(file), TOGETHER)))
        sign_answers(request, response, agency=head.order.agency, key=self.network.ledger_key)
        message["signature"] = base64.b64encode(response.signature).decode()
        return lines

    def verify(self, lines: Lines | None = None, *, job: Path | None = None, center: Path | None = None) -> BatchReport:
        result = self.result
        if lines is not None:
            result = self.folder / "altered"
            result.write_text("".join(f"{spell(line)}\n" for line in lines), "utf-8")
        return verify_batch(job or self.job, result, self.public, [self.ledger_key], center)

    def center(self, key: Ed25519PrivateKey) -> Path:
        """File of a center's public key."""
        path = self.folder / "freshness.pub"
        path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        return path


@pytest.fixture
async def case(network: Network, tmp_path: Path) -> Case:
    network.enter(*map(network.record_of, range(1, PERSONS)))  # the last one is nobody
    case = Case(tmp_path, network)
    case.order([*range(1, PERSONS + 1)])
    await case.run()
    return case


def test_a_whole_result_is_sound_and_tells_where_its_entries_are(case: Case) -> None:
    report = case.verify()
    assert report.findings.first_ones == []
    assert (report.persons, report.answered, report.findings.exit_code) == (PERSONS, PERSONS, 0)
    assert report.ledgers == {"jukinet/gateway-1": [0, PERSONS - 1]}
    names = [line["provided"]["record"]["name"]["legal"] for line in case.lines() if "provided" in line]
    assert names == [case.network.record_of(number).name.legal for number in range(1, PERSONS)]
    assert "case-1" not in report.to_text() + report.to_json()


def _without(start: int, end: int) -> Callable[[Lines], Lines]:
    return lambda lines: [*lines[:start], *lines[end:]]


def _twice_the_first_message(lines: Lines) -> Lines:
    again = [{**line, "line": line["line"] + TOGETHER} for line in lines[1:SECOND]]
    return [*lines[:SECOND], *again, *lines[THIRD:]]


def _two_swapped(lines: Lines) -> Lines:
    lines[1], lines[2] = {**lines[2], "line": 3}, {**lines[1], "line": 4}
    return lines


def _two_messages_swapped(lines: Lines) -> Lines:
    first = [{**line, "line": line["line"] + TOGETHER} for line in lines[1:SECOND]]
    second = [{**line, "line": line["line"] - TOGETHER} for line in lines[SECOND:THIRD]]
    return [lines[0], *second, *first, *lines[THIRD:]]


def _changed(index: int, path: str, value: Any) -> Callable[[Lines], Lines]:
    def change(lines: Lines) -> Lines:
        *way, last = path.split(".")
        found = lines[index]
        for key in way:
            found = found[key]
        assert found[last] != value
        found[last] = value
        return lines

    return change


def _spelled_otherwise(lines: Lines) -> Lines:
    """32 bytes leave two bits of their last letter in base64 free."""
    held = lines[1]["held"]
    lines[1]["held"] = f"{held[:-2]}{chr(ord(held[-2]) + 1)}="
    assert base64.b64decode(lines[1]["held"]) == base64.b64decode(held)
    return lines


ALTERED = [
    (_without(THIRD, THIRD + 23), f"from line {THIRD} of the job on are not answered"),
    (_without(THIRD + 22, THIRD + 23), "cut off"),
    (_without(SECOND, THIRD), "not answers about the next persons"),
    (_without(1, 2), "not answers about the next persons"),
    (_without(SECOND - 1, SECOND), "too many"),
    (_twice_the_first_message, "stand twice"),
    (_two_swapped, "did not sign"),
    (_two_messages_swapped, "did not sign"),
    (_changed(1, "provided.record.name.legal", "試験太郎"), "did not sign"),
    (_changed(1, "outcome", "INQUIRY_OUTCOME_NO_SINGLE_MATCH"), "did not sign"),
    (_changed(SECOND - 1, "message.legal_basis.edition", "2020-01"), "did not sign"),
    (_changed(SECOND - 1, "operator", "op-2"), "did not sign"),
    (_changed(SECOND - 1, "message.signature", base64.b64encode(bytes(64)).decode()), "did not sign"),
    (_changed(2, "receipt.index", "7"), "did not sign"),
    (_changed(2, "held", base64.b64encode(bytes(32)).decode()), "did not sign"),
    (_changed(2, "person", "0" * 64), "digest of another person"),
    (_changed(0, "job", "0" * 64), "not a jukinet-batch-result/1 of this job"),
    (_spelled_otherwise, "not spelled canonically"),
    (_changed(SECOND - 1, "line", 65), "is malformed"),
]


def test_whatever_is_done_to_a_result_is_found(case: Case) -> None:
    for alter, told in ALTERED:
        report = case.verify(alter(case.lines()))
        assert [told in finding.message for finding in report.findings.first_ones] == [True], report.to_text() + told
        assert report.answered < PERSONS


def test_a_gateway_that_signs_what_its_ledger_does_not_say_is_found(case: Case) -> None:
    def receipt(index: int) -> dict[str, Any]:
        found: dict[str, Any] = case.lines()[index]["receipt"]
        return found

    for index, path, value, told in (
        (1, "receipt", receipt(2), "another question"),
        (2, "receipt.index", "7", "does not lead to the signed root"),
        (2, "receipt.entry", receipt(1)["entry"], "does not lead to the signed root"),
    ):
        lines = case.signed_anew(_changed(index, path, value)(case.lines()))
        assert told in case.verify(lines).to_text()
    lines = _changed(1, "outcome", "INQUIRY_OUTCOME_NO_SINGLE_MATCH")(case.lines())
    for name in ("provided", "held"):
        del lines[1][name]
    assert "another question or outcome" in case.verify(case.signed_anew(lines)).to_text()
    assert case.verify(case.signed_anew(case.lines())).findings.sound


def test_that_the_center_said_how_fresh_the_answers_are_is_checked_where_its_key_is_given(case: Case) -> None:
    key = case.network.freshness_key
    report = case.verify(center=case.center(key))
    assert (report.findings.first_ones, report.answered) == ([], PERSONS), "the last person, who is nobody, too"
    assert "did not say so" in case.verify(center=case.center(Ed25519PrivateKey.generate())).to_text()

    def said(index: int, before: timedelta, municipality: str) -> Lines:
        lines = case.lines()
        statement = json_format.ParseDict(lines[index].pop("freshness")[0], inquiry.Freshness())
        statement.ClearField("signature")
        statement.municipality = municipality
        statement.said_at.FromDatetime(statement.said_at.ToDatetime() - before)
        told = json_format.MessageToDict(sign_freshness(statement, key), preserving_proto_field_name=True)
        lines[index]["freshness"] = [told]
        return case.signed_anew(lines)

    center = case.center(key)
    assert "when the question was asked" in case.verify(said(1, timedelta(hours=1), "131016"), center=center).to_text()
    assert case.verify(said(1, timedelta(), "141003"), center=center).findings.sound, "who is found may have moved"
    lines = case.lines()
    del lines[1]["freshness"]
    assert "does not say how fresh" in case.verify(case.signed_anew(lines), center=center).to_text()


async def test_a_later_job_is_told_who_did_not_change_and_its_result_says_so(case: Case, tmp_path: Path) -> None:
    changed = case.network.record_of(3)
    changed.name.furigana = "カワッタ"
    case.network.change(
        change_pb2.Change(
            reason=change_pb2.CHANGE_REASON_CORRECTION_EX_OFFICIO,
            event_date=CalendarDate(year=2026, month=5, day=1),
            record=changed,
            version=2,
        )
    )
    (tmp_path / "later").mkdir()
    later = Case(tmp_path / "later", case.network)
    later.order([*range(1, PERSONS + 1)], held=case.result)
    await later.run()
    report = later.verify()
    assert (report.findings.first_ones, report.answered, report.unchanged) == ([], PERSONS, PERSONS - 2)
    assert [line["line"] - 2 for line in later.lines() if "provided" in line] == [3]
    third = Case(tmp_path / "later", case.network)
    third.job.unlink()
    third.order([*range(1, PERSONS + 1)], held=later.result)
    third.result.unlink()
    await third.run()
    assert third.verify().unchanged == PERSONS - 1, "what was unchanged is held still"


async def test_what_is_called_unchanged_though_nobody_said_to_hold_it_is_found(case: Case) -> None:
    def altered(lines: Lines) -> Lines:
        lines[1].pop("provided")
        lines[1]["unchanged"] = True
        return case.signed_anew(lines)

    assert "called unchanged" in case.verify(altered(case.lines())).to_text()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("outcome", "INQUIRY_OUTCOME_NO_SINGLE_MATCH", "without a match it has provided and held"),
        ("unchanged", True, "it has provided, and says that nothing changed"),
        ("refusal", "ERROR_REASON_BUDGET_EXCEEDED", "it is a refusal with an outcome"),
    ],
)
def test_an_answer_that_contradicts_itself_is_found_though_the_gateway_signed_it(
    case: Case, name: str, value: Any, told: str
) -> None:
    lines = case.lines()
    lines[1][name] = value
    assert f"contradicts itself, for {told}" in case.verify(case.signed_anew(lines)).to_text()


async def test_a_sealed_job_is_sound_only_if_the_ledger_seals_whoever_is_found(
    network: Network, tmp_path: Path
) -> None:
    network.desk._policy.adopt(draft("2020-01", date(2020, 1, 1), seals={"B1-77": 12}))
    network.enter(*map(network.record_of, range(1, TOGETHER + 6)))
    case = Case(tmp_path, network)
    case.order([*range(1, TOGETHER + 7)], sealed_until=later(1))
    await case.run()
    report = case.verify()
    assert (report.findings.first_ones, report.answered) == ([], TOGETHER + 6)
    case.job.unlink()
    case.result.unlink()
    case.order([*range(1, TOGETHER + 7)])
    await case.run()
    unsealed = case.lines()
    case.job.unlink()
    case.order([*range(1, TOGETHER + 7)], sealed_until=later(1))
    unsealed[0]["job"] = case.head().digest.hex()
    assert "another question" in case.verify(case.signed_anew(unsealed)).to_text()


async def test_how_many_were_refused_is_told_of_a_result_that_is_sound(network: Network, tmp_path: Path) -> None:
    network.enter(*map(network.record_of, (1, 2, 3)))
    damaged = network.record_of(2).resident_code
    with network.register.begin() as connection:
        connection.execute(residents.update().where(residents.c.resident_code == damaged).values(checksum=1))
    case = Case(tmp_path, network)
    case.order([1, 2, 3])
    await case.run()
    report = case.verify()
    assert (report.findings.first_ones, report.answered, report.refused) == ([], 3, 1)
    assert "answered     3 of 3 persons, 0 of them unchanged, 1 refused\n" in report.to_text()
    assert json.loads(report.to_json())["refused"] == 1


async def test_one_message_does_not_answer_two_of_the_same_persons(network: Network, tmp_path: Path) -> None:
    network.enter(network.record_of(1))
    case = Case(tmp_path, network)
    case.order([1] * 2 * TOGETHER)
    await case.run()
    assert case.verify().findings.sound
    assert "stand twice" in case.verify(_twice_the_first_message(case.lines())).to_text()


async def test_answers_of_the_same_persons_to_another_job_are_not_taken(case: Case) -> None:
    first = case.lines()
    case.job.unlink()
    case.result.unlink()
    case.order([*range(1, PERSONS + 1)], case="case-2")
    await case.run()
    here = case.lines()
    assert case.verify().findings.sound
    mixed = [*here[:1], *first[1:SECOND], *here[SECOND:]]
    assert "did not sign" in case.verify(mixed).to_text()


def test_a_job_that_was_changed_is_found_first(case: Case, tmp_path: Path) -> None:
    lines = case.job.read_bytes().splitlines(keepends=True)
    altered = tmp_path / "other-job"
    for content in (lines[:-1], [*lines, lines[-1]], [*lines[:2], lines[3], lines[2], *lines[4:]]):
        altered.write_bytes(b"".join(content))
        assert "the persons are not those of the order" in case.verify(job=altered).to_text()
    altered.write_bytes(b"".join([lines[0].replace(b"case-1", b"case-9"), *lines[1:]]))
    assert "not signed by the given key" in case.verify(job=altered).to_text()
    create_signing_key(tmp_path, "op-8")
    report = verify_batch(case.job, case.result, tmp_path / "op-8.pub", [case.ledger_key])
    assert (report.findings.exit_code, report.answered) == (1, 0)


def test_a_gateway_whose_key_was_not_given_is_no_witness(case: Case, tmp_path: Path) -> None:
    other = tmp_path / "other.vkey"
    other.write_text(f"{Signer('jukinet/gateway-1', Ed25519PrivateKey.generate()).verifier}\n", "utf-8")
    named = tmp_path / "named.vkey"
    named.write_text(f"{Signer('jukinet/gateway-2', Ed25519PrivateKey.generate()).verifier}\n", "utf-8")
    for keys, told in (([other], "did not sign"), ([named], "key of the ledger"), ([], "key of the ledger")):
        assert told in verify_batch(case.job, case.result, case.public, keys).to_text()


async def test_answers_given_when_the_order_was_not_in_force_do_not_count(network: Network, tmp_path: Path) -> None:
    network.enter(network.record_of(1))
    for name, ordered_at in (("late", now() - LIFETIME - timedelta(seconds=1)), ("early", now() + timedelta(hours=1))):
        (tmp_path / name).mkdir()
        case = Case(tmp_path / name, network)
        case.order([1], ordered_at=format_time(ordered_at))
        await case.run()
        assert "not in force" in case.verify().to_text()


async def test_a_message_that_is_not_whole_is_asked_again(network: Network, tmp_path: Path) -> None:
    network.enter(*map(network.record_of, range(1, 2 * TOGETHER + 3)))
    case = Case(tmp_path, network)
    case.order([*range(1, 2 * TOGETHER + 3)])
    await case.run(up_to=2)
    begun = case.result.read_bytes()
    whole = begun.index(b"\n", begun.index(b'"message"')) + 1
    for cut in (len(begun) - 1, begun.rindex(b"\n", 0, len(begun) - 1) + 1, whole + 5):
        case.result.write_bytes(begun[:cut])
        await case.run(up_to=0)
        assert case.result.read_bytes() == begun[:whole]
    await case.run()
    assert case.verify().findings.sound


async def test_a_message_that_the_center_cannot_answer_by_its_edition_is_asked_again_when_it_can(
    network: Network, tmp_path: Path
) -> None:
    network.enter(*map(network.record_of, range(1, TOGETHER + 3)))
    case = Case(tmp_path, network)
    case.order([*range(1, TOGETHER + 3)])
    await case.run(up_to=1)
    begun = case.result.read_bytes()
    centers, edition = PurposePolicy(network.policy.editions, network.directory), draft("2026-04", date(2026, 4, 1))
    centers.adopt(edition)
    network.center_service._policy = centers
    refusal = await network.refusal_of(case.run())
    assert keeps_trying(code_of(refusal), refusal), "what the command does by itself"
    assert case.result.read_bytes() == begun
    network.policy.adopt(edition)
    await case.run()
    assert not any("refusal" in line for line in case.lines())
    assert case.verify().findings.sound


def test_two_processes_do_not_write_one_result(case: Case) -> None:
    head = case.head()
    with (
        BatchAnswers(case.result, {"job": head.digest.hex()}, kind=FORMAT, closed_by="message"),
        pytest.raises(Failure, match="written by another process"),
    ):
        BatchAnswers(case.result, {"job": head.digest.hex()}, kind=FORMAT, closed_by="message")


def _spoilt(content: bytes) -> Iterator[bytes]:
    for place in range(0, len(content), len(content) // 29):
        yield content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        yield content[:place]


def test_no_spoilt_byte_raises_or_passes(case: Case, tmp_path: Path) -> None:
    job, result = tmp_path / "spoilt-job", tmp_path / "spoilt-result"
    shutil.copy(case.job, job)
    small = case.result.read_bytes()
    for spoilt in _spoilt(small):
        result.write_bytes(spoilt)
        assert not verify_batch(job, result, case.public, [case.ledger_key]).findings.sound
    for spoilt in _spoilt(case.job.read_bytes()):
        job.write_bytes(spoilt)
        assert not verify_batch(job, case.result, case.public, [case.ledger_key]).findings.sound
