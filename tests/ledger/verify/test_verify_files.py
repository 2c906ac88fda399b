"""The verifier finds every way of tampering with an exported ledger, names the first bad entry, and needs no writer."""

import base64
import io
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.ledger import merkle, store
from jukinet.ledger.export import export, export_database
from jukinet.ledger.note import Signer, sign_checkpoint
from jukinet.ledger.verify import Report, verify_files

MakeLeaf = Callable[..., bytes]
BATCHES = (1, 4, 10, 25)
SIZE = sum(BATCHES)


class Case:
    """A sound exported ledger with receipts, to be tampered with line by line."""

    def __init__(self, folder: Path, signer: Signer, engine: Engine, leaf: MakeLeaf) -> None:
        self.folder, self.signer = folder, signer
        self.leaves = [leaf(number) for number in range(SIZE)]
        self.receipts: list[ledger_pb2.Receipt] = []
        with engine.begin() as connection:
            state = store.load(connection, signer)
            for size in BATCHES:
                batch = self.leaves[state.frontier.size : state.frontier.size + size]
                state, receipts = store.append(connection, state, batch, signer)
                self.receipts += receipts
        self.checkpoint = state.checkpoint
        self.key = folder / "ledger.pub"
        self.key.write_text(f"{signer.verifier}\n", encoding="utf-8")
        exported = io.StringIO()
        with engine.connect() as connection:
            export_database(connection, exported)
        self.lines = exported.getvalue().splitlines()

    def line_of(self, index: int) -> int:
        return next(number for number, line in enumerate(self.lines) if line.startswith(f'{{"i":{index},'))

    def verify(self, *receipts: ledger_pb2.Receipt, lines: list[str] | None = None) -> Report:
        ledger = self.folder / "ledger.jsonl"
        ledger.write_text("".join(f"{line}\n" for line in lines or self.lines), encoding="utf-8", newline="\n")
        paths = []
        for number, receipt in enumerate(receipts):
            paths.append(self.folder / f"receipt-{number}")
            paths[-1].write_bytes(receipt.SerializeToString())
        return verify_files(ledger, self.key, paths)

    def plain(self, leaves: list[bytes], checkpoint: str | None = None) -> list[str]:
        """A file made anew, hashes and all, from these leaves: what someone who knows the format would forge."""
        exported = io.StringIO()
        export(leaves, checkpoint or self.checkpoint, exported)
        return exported.getvalue().splitlines()

    def forged(self, leaves: list[bytes]) -> list[str]:
        """The same with the earlier checkpoints, which cannot be forged, left in their places."""
        exported = io.StringIO()
        notes = [json.loads(line)["c"] for line in self.lines if line.startswith('{"c"')]
        export(leaves, self.checkpoint, exported, earlier=notes)
        return exported.getvalue().splitlines()

    def signed(self, leaves: list[bytes]) -> list[str]:
        """What the ledger's own key signs over these leaves."""
        growth = merkle.append(merkle.EMPTY, [merkle.leaf_hash(leaf) for leaf in leaves])
        return self.plain(leaves, sign_checkpoint(self.signer, growth.frontier.size, growth.root))


@pytest.fixture
def case(tmp_path: Path, signer: Signer, sqlite: Engine, leaf: MakeLeaf) -> Case:
    return Case(tmp_path, signer, sqlite, leaf)


def entry_line(index: int, leaf: bytes, stored_hash: bytes | None = None) -> str:
    encoded = [base64.b64encode(part).decode() for part in (leaf, stored_hash or merkle.leaf_hash(leaf))]
    return json.dumps({"i": index, "e": encoded[0], "h": encoded[1]}, separators=(",", ":"))


def checks(report: Report) -> list[str]:
    return [finding.check for finding in report.findings.first_ones]


def test_a_sound_ledger_is_sound(case: Case) -> None:
    report = case.verify(*case.receipts)
    assert report.findings.first_ones == []
    assert (report.findings.sound, report.findings.exit_code, report.first_bad_index, report.bad_range) == (
        True,
        0,
        None,
        None,
    )
    assert (report.entries, report.checkpoints, report.receipts) == (SIZE, len(BATCHES), SIZE)
    assert (report.origin, report.size) == (case.signer.verifier.name, SIZE)


def test_an_empty_ledger_is_sound(case: Case) -> None:
    assert case.verify(lines=case.signed([])).findings.sound


def test_a_ledger_without_earlier_checkpoints_is_sound(case: Case) -> None:
    assert case.verify(lines=case.plain(case.leaves)).findings.sound


def test_a_receipt_may_be_json(case: Case) -> None:
    path = case.folder / "receipt.json"
    path.write_text(json_format.MessageToJson(case.receipts[3]), encoding="utf-8")
    case.verify()
    assert verify_files(case.folder / "ledger.jsonl", case.key, [path]).receipts == 1


@pytest.mark.parametrize("index", [0, 1, 7, 15, SIZE - 1])
def test_an_edited_entry_is_named(case: Case, leaf: MakeLeaf, index: int) -> None:
    lines = list(case.lines)
    other = leaf(index, operator="somebody-else")
    lines[case.line_of(index)] = entry_line(index, other, merkle.leaf_hash(case.leaves[index]))
    report = case.verify(lines=lines)
    assert (report.first_bad_index, checks(report), report.findings.exit_code) == (index, ["leaf"], 1)


@pytest.mark.parametrize("index", [0, 1, 7, 15, SIZE - 1])
def test_an_edited_hash_is_named(case: Case, index: int) -> None:
    lines = list(case.lines)
    lines[case.line_of(index)] = entry_line(index, case.leaves[index], b"\x00" * 32)
    assert case.verify(lines=lines).first_bad_index == index


@pytest.mark.parametrize("index", [0, 1, 7, SIZE - 1])
def test_a_dropped_entry_is_named(case: Case, index: int) -> None:
    lines = list(case.lines)
    del lines[case.line_of(index)]
    assert case.verify(lines=lines).first_bad_index == index


@pytest.mark.parametrize("index", [0, 6, SIZE - 2])
def test_reordered_entries_are_named(case: Case, index: int) -> None:
    lines = list(case.lines)
    first, second = case.line_of(index), case.line_of(index + 1)
    lines[first], lines[second] = lines[second], lines[first]
    assert case.verify(lines=lines).first_bad_index == index


@pytest.mark.parametrize("index", [0, 6, SIZE - 1])
def test_a_duplicated_entry_is_named(case: Case, index: int) -> None:
    lines = list(case.lines)
    lines.insert(case.line_of(index), lines[case.line_of(index)])
    assert case.verify(lines=lines).first_bad_index == index + 1


@pytest.mark.parametrize("kept", [0, 1, 7, SIZE - 1])
def test_a_truncated_ledger_is_named(case: Case, kept: int) -> None:
    report = case.verify(lines=case.lines[: case.line_of(kept)])
    assert (report.first_bad_index, checks(report)) == (kept, ["truncated"])


def test_a_file_cut_off_in_a_line_is_named(case: Case) -> None:
    case.verify()
    path = case.folder / "ledger.jsonl"
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b'{"i":9,') + 30])
    report = verify_files(path, case.key)
    assert (report.first_bad_index, checks(report)) == (9, ["line"])


def test_an_entry_that_nobody_signed_is_named(case: Case, leaf: MakeLeaf) -> None:
    report = case.verify(lines=[*case.lines, entry_line(SIZE, leaf(SIZE))])
    assert report.first_bad_index == SIZE


@pytest.mark.parametrize(("index", "batch"), [(0, (0, 0)), (3, (1, 4)), (14, (5, 14)), (20, (15, 39))])
def test_a_careful_forgery_is_bounded_by_the_checkpoints_around_it(
    case: Case, leaf: MakeLeaf, index: int, batch: tuple[int, int]
) -> None:
    leaves = list(case.leaves)
    leaves[index] = leaf(index, operator="somebody-else")
    report = case.verify(lines=case.forged(leaves))
    assert report.bad_range == batch
    assert report.first_bad_index == (batch[0] if batch[0] == batch[1] else None)


@pytest.mark.parametrize("change", ["drop", "reorder", "duplicate"])
def test_a_renumbered_ledger_is_bounded_too(case: Case, change: str) -> None:
    leaves = list(case.leaves)
    if change == "drop":
        leaves[7:] = [*leaves[8:], leaves[8]]
    elif change == "reorder":
        leaves[7], leaves[8] = leaves[8], leaves[7]
    else:
        leaves[8] = leaves[7]
    report = case.verify(lines=case.forged(leaves))
    assert (report.bad_range, report.findings.sound) == ((5, 14), False)


def test_a_receipt_names_the_forged_entry_itself(case: Case, leaf: MakeLeaf) -> None:
    leaves = list(case.leaves)
    leaves[20] = leaf(20, operator="somebody-else")
    report = case.verify(case.receipts[20], case.receipts[21], lines=case.plain(leaves))
    assert report.first_bad_index == 20
    assert report.bad_range == (20, 20)


def test_a_ledger_signed_anew_contradicts_a_receipt(case: Case, leaf: MakeLeaf) -> None:
    leaves = list(case.leaves)
    leaves[20] = leaf(20, operator="somebody-else")
    assert case.verify(lines=case.signed(leaves)).findings.sound
    report = case.verify(case.receipts[25], lines=case.signed(leaves))
    assert (checks(report), report.findings.exit_code) == (["receipt"], 1)


def test_a_ledger_rolled_back_contradicts_a_receipt(case: Case) -> None:
    report = case.verify(case.receipts[-1], lines=case.signed(case.leaves[:15]))
    assert checks(report) == ["receipt"]
    assert "more than here" in report.findings.first_ones[0].message


def test_no_single_bit_of_a_receipt_can_be_changed(case: Case) -> None:
    receipt = case.receipts[9]
    for number, digest in enumerate(receipt.proof):
        for bit in range(256):
            changed = bytearray(digest)
            changed[bit // 8] ^= 1 << bit % 8
            tampered = ledger_pb2.Receipt()
            tampered.CopyFrom(receipt)
            tampered.proof[number] = bytes(changed)
            assert not case.verify(tampered).findings.sound
    for changes in ({"index": 10}, {"entry": case.leaves[8]}, {"checkpoint": case.checkpoint}, {"index": 99}):
        tampered = ledger_pb2.Receipt(**{**_fields(receipt), **changes})
        assert checks(case.verify(tampered)) == ["receipt"]
    for proof in ([], [*receipt.proof, bytes(32)], [digest[:31] for digest in receipt.proof]):
        assert checks(case.verify(ledger_pb2.Receipt(**{**_fields(receipt), "proof": proof}))) == ["receipt"]


def _fields(receipt: ledger_pb2.Receipt) -> dict[str, Any]:
    return {field.name: value for field, value in receipt.ListFields()}


@pytest.mark.parametrize("content", [b"", b"\xff\xff", b"{", b'{"index": "x"}', b'{"\xff": 1}'])
def test_a_file_that_is_no_receipt_is_a_finding(case: Case, content: bytes) -> None:
    case.verify()
    path = case.folder / "not-a-receipt"
    path.write_bytes(content)
    report = verify_files(case.folder / "ledger.jsonl", case.key, [path])
    assert checks(report) == ["receipt"]


def test_the_wrong_key_is_told(case: Case, other_signer: Signer) -> None:
    case.key.write_text(str(other_signer.verifier), encoding="utf-8")
    report = case.verify()
    assert (checks(report), report.findings.exit_code) == (["checkpoint"], 1)


def test_a_key_of_another_ledger_is_told(case: Case, other_signer: Signer) -> None:
    named = Signer("elsewhere.example/ledger", other_signer._private_key)
    case.key.write_text(str(named.verifier), encoding="utf-8")
    assert checks(case.verify()) == ["header", "checkpoint"]


@pytest.mark.parametrize("key", ["", "nonsense", "a+00000000+" + "A" * 44, "\u3042+1+2"])
def test_a_malformed_key_file_is_unreadable(case: Case, key: str) -> None:
    case.key.write_text(key, encoding="utf-8")
    assert case.verify().findings.exit_code == 2


def test_missing_files_are_unreadable(case: Case, tmp_path: Path) -> None:
    case.verify()
    assert verify_files(tmp_path / "absent", case.key).findings.exit_code == 2
    assert verify_files(tmp_path / "ledger.jsonl", tmp_path / "absent").findings.exit_code == 2
    assert verify_files(tmp_path / "ledger.jsonl", case.key, [tmp_path / "absent"]).findings.exit_code == 2


@pytest.mark.parametrize(
    "header",
    ["", "{}", "[]", "[" * 100_000, '{"format":"other/1","origin":"a","checkpoint":"b"}', "\x00", '{"format":1}'],
)
def test_a_file_without_the_header_is_unreadable(case: Case, header: str) -> None:
    assert case.verify(lines=[header, *case.lines[1:]]).findings.exit_code == 2


def test_a_header_of_another_origin_is_told(case: Case) -> None:
    header = json.loads(case.lines[0]) | {"origin": "elsewhere"}
    lines = [json.dumps(header, ensure_ascii=False, separators=(",", ":")), *case.lines[1:]]
    assert checks(case.verify(lines=lines)) == ["header"]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "null",
        "{}",
        '{"i":3}',
        '{"i":true,"e":"","h":""}',
        '{"i":"3","e":"","h":""}',
        '{"i":3,"e":1,"h":""}',
        '{"i":3,"e":"A","h":""}',
        '{"i":3,"e":"AB==","h":""}',
        '{"i":3, "e":"","h":""}',
        '{"i":3,"i":3,"e":"","h":""}',
        '{"c":7}',
    ],
)
def test_a_malformed_line_is_named(case: Case, line: str) -> None:
    lines = list(case.lines)
    lines[case.line_of(3)] = line
    report = case.verify(lines=lines)
    assert (report.first_bad_index, checks(report)) == (3, ["line"])


def test_a_line_without_end_is_not_read_into_memory(case: Case) -> None:
    assert checks(case.verify(lines=[*case.lines, "9" * 3_000_000])) == ["line"]


def test_a_false_earlier_checkpoint_is_told(case: Case, other_signer: Signer) -> None:
    for note, problem in (
        (sign_checkpoint(other_signer, 5, bytes(32)), "not signed by the given key"),
        (sign_checkpoint(case.signer, 4, bytes(32)), "stands after 5"),
        ("nonsense", "malformed"),
        (case.checkpoint.replace("\n— ", "\n- "), "malformed"),
        (case.checkpoint[:-4] + "\n", "malformed"),
    ):
        lines = list(case.lines)
        place = next(k for k, line in enumerate(lines) if line.startswith('{"c"') and k > case.line_of(4))
        lines[place] = json.dumps({"c": note}, ensure_ascii=False, separators=(",", ":"))
        report = case.verify(lines=lines)
        assert checks(report) == ["checkpoint"]
        assert problem in report.findings.first_ones[0].message


def test_a_signed_entry_outside_the_layout_is_named(case: Case, leaf: MakeLeaf) -> None:
    entry = ledger_pb2.Entry.FromString(leaf(2))
    entry.agency = "山田太郎"
    for bad in (entry.SerializeToString(), leaf(2) + b"\x92\x06\x06" + "山田".encode(), b"\xff"):
        report = case.verify(lines=case.signed([leaf(0), leaf(1), bad, leaf(3)]))
        assert (report.first_bad_index, checks(report)) == (2, ["layout"])
        assert "山田" not in report.to_text() + report.to_json()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 0),
        ("version", 2),
        ("version", 4),
        ("request_id", "x"),
        ("operator_proof", b"x"),
        ("operator_pseudonym", b"x"),
        ("purpose", ""),
        ("article", "x"),
        ("case_commitment", b""),
        ("person_token", b""),
        ("action", 0),
        ("action", 9),
        ("action", 3),
        ("result", 0),
        ("result", 9),
        ("result", 4),
        ("refusal", 70),
        ("policy_digest", b""),
        ("answer_digest", b""),
        ("method", 0),
        ("method", 3),
        ("edition", ""),
        ("edition", "山田"),
        ("edition_digest", b"x" * 32),
    ],
)
def test_each_field_of_the_layout_is_checked(case: Case, leaf: MakeLeaf, field: str, value: Any) -> None:
    entry = ledger_pb2.Entry.FromString(leaf(0))
    setattr(entry, field, value)
    report = case.verify(lines=case.signed([entry.SerializeToString(deterministic=True)]))
    assert checks(report) == ["layout"]


@pytest.mark.parametrize("fields", [[0], [8], [2, 1], [1, 1]])
def test_released_fields_are_checked(case: Case, leaf: MakeLeaf, fields: list[int]) -> None:
    entry = ledger_pb2.Entry.FromString(leaf(0))
    del entry.fields[:]
    entry.fields.extend(fields)
    assert checks(case.verify(lines=case.signed([entry.SerializeToString(deterministic=True)]))) == ["layout"]


@pytest.mark.parametrize("wanted", [[0], [8], [2, 1, 4], [1, 1, 2, 4], [1, 2]])
def test_wanted_fields_are_checked(case: Case, leaf: MakeLeaf, wanted: list[int]) -> None:
    entry = ledger_pb2.Entry.FromString(leaf(0))
    del entry.wanted[:]
    entry.wanted.extend(wanted)
    assert checks(case.verify(lines=case.signed([entry.SerializeToString(deterministic=True)]))) == ["layout"]


def test_a_ledger_that_was_written_in_layout_1_is_sound(tmp_path: Path) -> None:
    recorded = Path(__file__).parent / "recorded" / "layout-1"
    report = verify_files(recorded / "ledger.jsonl", recorded / "ledger.vkey", [recorded / "receipt"])
    assert (report.findings.first_ones, report.entries, report.receipts) == ([], 6, 1)


def test_an_entry_without_a_time_is_told(case: Case, leaf: MakeLeaf) -> None:
    entry = ledger_pb2.Entry.FromString(leaf(0))
    entry.ClearField("time")
    assert checks(case.verify(lines=case.signed([entry.SerializeToString(deterministic=True)]))) == ["layout"]


def test_refusals_are_within_the_layout(case: Case, leaf: MakeLeaf) -> None:
    refusal: dict[str, Any] = {"result": 3, "refusal": 70, "fields": [], "token": b"", "answer": None}
    leaves = [leaf(0, **refusal, purpose="", article="30-38"), leaf(1, result=2, token=b"", fields=[])]
    assert case.verify(lines=case.signed(leaves)).findings.sound


def test_time_may_step_back_a_little_but_not_far(case: Case, leaf: MakeLeaf) -> None:
    def at(second: int) -> bytes:
        return leaf(0, time=datetime(2026, 4, 1, 0, 0, second, tzinfo=UTC))

    assert case.verify(lines=case.signed([at(10), at(5), at(11)])).findings.sound
    report = case.verify(lines=case.signed([at(10), at(4), at(11)]))
    assert (report.first_bad_index, checks(report)) == (1, ["time"])


def test_of_very_many_findings_the_first_are_kept(case: Case) -> None:
    report = case.verify(lines=case.signed([b"\xff" * (1 + k) for k in range(150)]))
    assert (len(report.findings.first_ones), report.findings.left_out, report.first_bad_index) == (100, 50, 0)
    assert "and 50 more" in report.to_text()


def test_an_insider_who_rewrites_the_database_is_found(case: Case, sqlite: Engine, leaf: MakeLeaf) -> None:
    with sqlite.begin() as connection:
        connection.execute(text("DROP TRIGGER ledger_entries_no_update"))
        changed = text("UPDATE ledger_entries SET entry = :entry WHERE leaf_index = 12")
        connection.execute(changed, {"entry": leaf(12, operator="somebody-else")})
        exported = io.StringIO()
        export_database(connection, exported)
    assert case.verify(lines=exported.getvalue().splitlines()).first_bad_index == 12


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(data=st.data())
def test_no_changed_byte_goes_unnoticed_nor_raises(case: Case, data: st.DataObject) -> None:
    content = "".join(f"{line}\n" for line in case.lines).encode()
    place = data.draw(st.integers(0, len(content) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != content[place]))
    path = case.folder / "changed.jsonl"
    path.write_bytes(content[:place] + bytes([byte]) + content[place + 1 :])
    assert not verify_files(path, case.key).findings.sound


def run_verifier(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jukinet.ledger.verify", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_program_tells_by_its_exit_status(case: Case, tmp_path: Path) -> None:
    case.verify(case.receipts[3])
    ledger, receipt = tmp_path / "ledger.jsonl", tmp_path / "receipt-0"
    sound = run_verifier(ledger, case.key, receipt)
    assert (sound.returncode, sound.stdout.splitlines()[-1]) == (0, "SOUND")
    case.verify(lines=case.lines[:-1])
    bad = run_verifier("--json", ledger, case.key)
    assert (bad.returncode, json.loads(bad.stdout)["first_bad_index"]) == (1, SIZE - 1)
    assert run_verifier(tmp_path / "absent", case.key).returncode == 2


def test_the_report_for_people_names_what_is_bad(case: Case, leaf: MakeLeaf) -> None:
    assert f"first bad    entry {SIZE - 1}" in case.verify(lines=case.lines[:-1]).to_text()
    leaves = list(case.leaves)
    leaves[20] = leaf(20, operator="somebody-else")
    assert "one of the entries 15 to 39" in case.verify(lines=case.forged(leaves)).to_text()


def test_the_verifier_shares_no_code_with_the_writer() -> None:
    program = "import sys, jukinet.ledger.verify.__main__; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    modules = shown.stdout.split()
    ours = {name for name in modules if name.startswith("jukinet.") and not name.startswith("jukinet._pb")}
    assert {name for name in ours if not name.startswith("jukinet.ledger.verify")} == {"jukinet.ledger"}
    assert not {"sqlalchemy", "grpc", "opentelemetry", "psycopg", "sqlite3"} & set(modules)
