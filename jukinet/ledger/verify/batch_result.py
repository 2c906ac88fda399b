"""Checks the result of a signed file job offline: nothing was left out, changed, added or put elsewhere.

1. The job: the order is signed by the operator who gave it, and the persons are those that it speaks of.
2. The result is this job's.
3. Message by message: the answers are about the next persons of the job, and a gateway signed them together with just
   that question (persons, what is held of them, row, case, items, digest of the job), each message once.
4. Each answer agrees with itself, and its receipt proves an entry in that gateway's ledger, of this question, agency,
   row and outcome, made while the order was in force, and sealed as it says. What it calls unchanged is what the job
   says to be held. Where the center's key is given, the center said when the entry was made that the answer's source is
   as fresh as the order demands.
5. At the end: every person of the job has an answer.

Which tree the witnesses saw is checked with the ledger's file or a proof (`check`, `one_receipt`).

The result's first line is its header, then for each message a line for each person and one for the message:

    {"format":"jukinet-batch-result/1","job":…}
    {"line":…,"person":…,"outcome":…,"provided":{…},"receipt":{…},…}
    {"line":…,"operator":…,"message":{"request_id":…,"legal_basis":{…},"signature":…}}

`line` is the person's line in the job; of a message, that of its last person. `person` is the SHA-256 of how the person
was named. The rest of a line is in the contract's JSON: a BatchAnswer, and an InquireBatchResponse without its answers.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from google.protobuf import json_format
from google.protobuf.message import Message

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.ledger.verify.agreement import contradiction_in
from jukinet.ledger.verify.batch_job import (
    SKEW,
    Job,
    Person,
    digest_of,
    person_lines,
    put_persons,
    read_head,
    read_person,
    read_public_key,
    require_whole,
)
from jukinet.ledger.verify.batch_report import BatchReport
from jukinet.ledger.verify.findings import Finding, Unsound
from jukinet.ledger.verify.freshness import demand_of, objection_to
from jukinet.ledger.verify.json_lines import parse_line, read_line
from jukinet.ledger.verify.layout import read_entry
from jukinet.ledger.verify.notes import Key, read_checkpoint, read_key
from jukinet.ledger.verify.receipts import require_included
from jukinet.ledger.verify.tree import SignedTree

FORMAT = "jukinet-batch-result/1"
TOGETHER = 256
"""Persons in one message at most."""
_CONTEXT = b"jukinet batch answer v1\0"
_M = TypeVar("_M", bound=Message)
_RESULTS = {
    inquiry_pb2.INQUIRY_OUTCOME_MATCH: ledger_pb2.RESULT_PROVIDED,
    inquiry_pb2.INQUIRY_OUTCOME_NO_SINGLE_MATCH: ledger_pb2.RESULT_NO_SINGLE_MATCH,
    inquiry_pb2.INQUIRY_OUTCOME_NOT_PROVIDED: ledger_pb2.RESULT_NOT_PROVIDED,
}


def verify_batch(
    job_path: Path, result_path: Path, ordered_by: Path, ledger_keys: Sequence[Path], freshness_key: Path | None = None
) -> BatchReport:
    """Verifies the result of a job.

    Args:
        job_path: file of `jukinet-batch-job/1`.
        result_path: file of `jukinet-batch-result/1`.
        ordered_by: file with the public key of the operator who ordered, PEM.
        ledger_keys: files with the public keys of the gateways' ledgers, `name+keyid+base64`.
        freshness_key: file with the center's public key, PEM; None = how fresh the answers are is not checked.
    Returns: the report; it never raises for what is in the files. It stops at the first message that does not hold.
    """
    report = BatchReport()
    try:
        key = read_public_key(ordered_by)
        center = read_public_key(freshness_key) if freshness_key else None
        keys = {each.name: each for each in (read_key(path.read_text(encoding="utf-8")) for path in ledger_keys)}
        with job_path.open("rb") as job_file, result_path.open("rb") as result_file:
            job = read_head(job_file)
            report.job, report.agency, report.persons = job.digest.hex(), job.order.agency, job.order.persons
            try:
                job.require_signed(key)
                first = job_file.tell()
                require_whole(job_file, job.order)
                job_file.seek(first)
            except Unsound as error:
                report.findings.add(Finding("job", str(error)))
                return report
            _Verification(report, job, keys, center).run(job_file, result_file)
    except (Unsound, OSError, UnicodeDecodeError) as error:
        report.findings.stopped(error)
    return report


class _Answered(NamedTuple):
    """A message of the result, and the lines of its persons."""

    operator: str
    response: inquiry_pb2.InquireBatchResponse
    lines: list[int]
    digests: list[object]
    """What stands for them in the result."""


class _Verification:
    """The check of one result."""

    def __init__(self, report: BatchReport, job: Job, keys: Mapping[str, Key], center: Ed25519PublicKey | None) -> None:
        self._report = report
        self._job = job
        self._keys = keys
        self._center = center
        self._question = job.order.question()
        self._question.job = job.digest
        self._period = (job.order.begins - SKEW, job.order.ends)
        self._request_ids: set[str] = set()
        self._latest = ("", SignedTree(0, b""))
        """The checkpoint of the receipt before, which is mostly this one's too."""

    def run(self, job_file: BinaryIO, result_file: BinaryIO) -> None:
        header = parse_line(read_line(result_file))
        if header != {"format": FORMAT, "job": self._job.digest.hex()}:
            raise Unsound(f"the result is not a {FORMAT} of this job")
        persons = person_lines(job_file)
        at = 0
        try:
            for answered in _messages(result_file):
                at = answered.lines[0]
                self._check(answered, persons)
        except Unsound as error:
            self._find(f"line {at} and following: {error}" if at else str(error))
            return
        if (left := next(persons, None)) is not None:
            self._find(f"the persons from line {left[0]} of the job on are not answered")

    def _check(self, answered: _Answered, persons: Iterator[tuple[int, bytes]]) -> None:
        response = answered.response
        asked = list(islice(persons, len(answered.lines)))
        if [number for number, _ in asked] != answered.lines or not 1 <= len(asked) <= TOGETHER:
            raise Unsound("these are not answers about the next persons of the job")
        if response.request_id in self._request_ids:
            raise Unsound("these answers stand twice in the result")
        self._request_ids.add(response.request_id)
        question = inquiry_pb2.InquireBatchRequest()
        question.CopyFrom(self._question)
        question.context.request_id, question.context.operator = response.request_id, answered.operator
        people = [read_person(line) for _, line in asked]
        put_persons(question, people)
        key = self._key_of(response)
        self._require_signed(question, response, key)
        if answered.digests != [digest_of(each.subject) for each in people]:
            raise Unsound("an answer stands beside the digest of another person")
        for number, (person, answer) in enumerate(zip(people, response.answers, strict=True)):
            _require_agreement(answer, person)
            made_us = self._require_receipt(answer, question_id(response.request_id, number), key)
            self._require_fresh(answer, person, made_us)
            self._report.add_answer(key.name, answer)

    def _key_of(self, response: inquiry_pb2.InquireBatchResponse) -> Key:
        origins = {answer.receipt.checkpoint.partition("\n")[0] for answer in response.answers}
        for origin in origins:
            if origin not in self._keys:
                raise Unsound("the key of the ledger that holds the entries was not given")
        if len(origins) != 1:
            raise Unsound("the entries are in several ledgers")
        return self._keys[origins.pop()]

    def _require_signed(
        self, question: inquiry_pb2.InquireBatchRequest, response: inquiry_pb2.InquireBatchResponse, key: Key
    ) -> None:
        signature = response.signature
        unsigned = inquiry_pb2.InquireBatchResponse()
        unsigned.CopyFrom(response)
        unsigned.ClearField("signature")
        parts = (self._job.order.agency.encode(), _digest(question), _digest(unsigned))
        try:
            key.public.verify(signature, _CONTEXT + b"".join(len(part).to_bytes(4, "big") + part for part in parts))
        except InvalidSignature:
            raise Unsound("the gateway did not sign these answers to these questions") from None

    def _require_receipt(self, answer: inquiry_pb2.BatchAnswer, request_id: str, key: Key) -> int:
        """Gives when the entry was made, microseconds since 1970. Raises Unsound."""
        receipt, order = answer.receipt, self._job.order
        if receipt.checkpoint != self._latest[0]:
            self._latest = receipt.checkpoint, read_checkpoint(receipt.checkpoint, key)
        require_included(receipt, self._latest[1])
        entry = read_entry(receipt.entry)
        wanted = ledger_pb2.RESULT_REFUSED if answer.refusal else _RESULTS.get(answer.outcome)
        same = (
            entry.request_id == request_id
            and entry.agency == order.agency
            and entry.purpose == order.purpose
            and entry.action == ledger_pb2.ACTION_INQUIRE_BATCH
            and (entry.result, entry.refusal) == (wanted, answer.refusal)
            and list(entry.wanted) == sorted(self._question.fields)
            and entry.sealed_until == (order.sealed_until if entry.person_token else "")
        )
        if not same:
            raise Unsound("a receipt is of another question or outcome")
        made = datetime.fromtimestamp(entry.time.seconds, UTC)
        if not self._period[0] <= made <= self._period[1]:
            raise Unsound("it was asked when the order was not in force")
        return entry.time.ToMicroseconds()

    def _require_fresh(self, answer: inquiry_pb2.BatchAnswer, person: Person, made_us: int) -> None:
        if self._center is None or answer.refusal:  # who was refused was not looked up
            return
        demand = demand_of(person.subject, answer.outcome, maximum_age_seconds=self._job.order.max_age)
        wrong = objection_to(answer.freshness, self._center, demand, asked_us=made_us, now_us=made_us)
        if wrong:
            raise Unsound(f"an answer is not to be used: of how fresh it is, {wrong}")

    def _find(self, message: str) -> None:
        self._report.findings.add(Finding("result", message))


def _require_agreement(answer: inquiry_pb2.BatchAnswer, person: Person) -> None:
    if wrong := contradiction_in(answer):
        raise Unsound(f"an answer contradicts itself, for {wrong}")
    if answer.unchanged and not (person.held and answer.held == person.held):
        raise Unsound("an answer is called unchanged though the job does not say that it is held")


def question_id(request_id: str, number: int) -> str:
    """Id of the question about a person of a message, as the contract of InquireBatchRequest says."""
    digits = hashlib.sha256(f"{request_id}/{number}".encode()).hexdigest()
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def _messages(file: BinaryIO) -> Iterator[_Answered]:
    """Raises Unsound at the first line that is malformed, and for answers of which the message is missing."""
    answers: list[inquiry_pb2.BatchAnswer] = []
    lines: list[int] = []
    digests: list[object] = []
    while raw := read_line(file):
        content = parse_line(raw)
        line, message = content.pop("line", None), content.get("message")
        if type(line) is not int or len(lines) > TOGETHER:
            raise Unsound("a line names no line of the job, or too many are in one message")
        if message is None:
            lines.append(line)
            digests.append(content.pop("person", None))
            answers.append(_parsed(content, inquiry_pb2.BatchAnswer()))
            continue
        operator = content.pop("operator", None)
        if set(content) != {"message"} or not isinstance(operator, str) or not lines or line != lines[-1]:
            raise Unsound("the line of a message is malformed")
        response = _parsed(message, inquiry_pb2.InquireBatchResponse())
        if response.answers:
            raise Unsound("the line of a message is malformed")
        response.answers.extend(answers)
        yield _Answered(operator, response, lines, digests)
        answers, lines, digests = [], [], []
    if lines:
        raise Unsound(f"behind line {lines[0] - 1} the result is cut off")


def _parsed(content: Any, message: _M) -> _M:
    try:
        json_format.ParseDict(content, message)
    # What was raised may quote the line. A number where a message must be is an error of any kind.
    except (json_format.ParseError, TypeError, AttributeError, ValueError):
        raise Unsound("a line is no answer of the contract") from None
    # Base64 has several spellings of the same bytes, and numbers may be written as text.
    if json_format.MessageToDict(message, preserving_proto_field_name=True) != content:
        raise Unsound("a line is not spelled canonically")
    return message


def _digest(message: Message) -> bytes:
    return hashlib.sha256(message.SerializeToString(deterministic=True)).digest()
