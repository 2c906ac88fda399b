"""`jukinet statutes` on files: what is wrong with an edition, what a row opens, what a draft would change."""

import json
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.cli.development_agencies import PENSION_SERVICE, TAX_AGENCY, development_agencies
from jukinet.cli.output import Exit
from jukinet.ledger import merkle
from jukinet.ledger.entry import EntryKeys, make_act, make_entry
from jukinet.ledger.export import export
from jukinet.ledger.layout import encode
from jukinet.ledger.note import Signer, sign_checkpoint
from jukinet.mesh.clock import today_in_japan
from jukinet.purpose.agencies import SPIFFE_PREFIX, format_agencies
from jukinet.purpose.edition import program_edition
from tests.commands import jukinet
from tests.purpose.drafts import draft_text


def run(*words: object, code: Exit = Exit.OK) -> str:
    result = jukinet("statutes", *map(str, words))
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    file = tmp_path / "draft.toml"
    file.write_bytes(draft_text(rows={"B1-77": None}))
    return file


@pytest.fixture
def agencies(tmp_path: Path) -> Path:
    file = tmp_path / "agencies.toml"
    lawful = [agency for agency in development_agencies("131016") if agency.kind == "public"]
    file.write_text(format_agencies(lawful), "utf-8")
    return file


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A ledger of two questions of the pension service for two rows."""
    return _export(tmp_path, [_leaf(number, purpose) for number, purpose in enumerate(("B1-77", "B1-72"))])


def _export(tmp_path: Path, leaves: list[bytes]) -> Path:
    root = merkle.append(merkle.EMPTY, [merkle.leaf_hash(leaf) for leaf in leaves]).root
    checkpoint = sign_checkpoint(Signer("jukinet/gateway-1", Ed25519PrivateKey.generate()), len(leaves), root)
    path = tmp_path / "ledger.jsonl"
    with path.open("w", encoding="utf-8", newline="\n") as file:
        export(leaves, checkpoint, file)
    return path


def _leaf(number: int, purpose: str, **parts: Any) -> bytes:
    """An answer to the pension service; `parts` are other values."""
    asked: dict[str, Any] = {
        "time": datetime(2026, 4, 2, tzinfo=UTC),
        "request_id": f"5f7d1c1e-0000-4000-8000-{number:012x}",
        "agency": f"{SPIFFE_PREFIX}{PENSION_SERVICE}",
        "operator": "op",
        "purpose": purpose,
        "article": "30-9",
        "case_reference": "case",
        "action": ledger.ACTION_INQUIRE,
        "result": ledger.RESULT_PROVIDED,
        "policy_digest": bytes(32),
        "method": 1,
        "wanted": [1],
        "edition": "2019-01",
        "fields": [1],
        "token": bytes(32),
        "answer": b"answer",
    }
    return encode(make_entry(EntryKeys(bytes(32)), **{**asked, **parts}))


def test_the_programs_own_edition_is_clean(agencies: Path) -> None:
    digest = sha256(program_edition()).hexdigest()
    assert f"0 findings in edition 2019-01, digest {digest}" in run("check", "--agencies", agencies)
    assert json.loads(run("check", "--json")) == {"edition": "2019-01", "digest": digest, "findings": []}


def test_what_is_wrong_with_a_draft_is_told_and_ends_with_1(tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_bytes(
        draft_text(rows={"B1-77": {"bodies": "municipal-mayor"}, "B2-1": {"bodies": "national-tax-agency"}})
    )
    found: list[dict[str, Any]] = json.loads(run("check", file, "--json", code=Exit.REFUSED))["findings"]
    assert [(each["kind"], each["where"]) for each in found] == [("contradiction", "B1-77"), ("contradiction", "B2-1")]


def test_the_edition_that_was_checked_is_named_however_wrong_it_is(tmp_path: Path, draft: Path) -> None:
    assert "0 findings in edition 2026-04, digest" in run("check", draft)
    wrong = tmp_path / "wrong.toml"
    wrong.write_bytes(draft_text("2027-01", rows={"B1-77": {"status": "soon"}}))
    assert "1 findings in edition 2027-01, digest" in run("check", wrong, code=Exit.REFUSED)
    wrong.write_text("no edition", "utf-8")
    assert "1 findings in edition without a name, digest" in run("check", wrong, code=Exit.REFUSED)
    assert json.loads(run("check", wrong, "--json", code=Exit.REFUSED))["edition"] is None


def test_an_edition_that_was_approved_is_not_taken_for_the_one_to_check(
    draft: Path, approved: Path, granted: Path, tmp_path: Path
) -> None:
    for words in ([], ["--agencies", str(granted)], [str(draft)]):
        result = jukinet("statutes", "check", *words, "--edition", str(approved))
        assert (result.exit_code, result.stdout) == (Exit.USAGE, "")
        assert "give what is to be checked as FILE" in result.stderr
    own = tmp_path / "own.toml"
    own.write_bytes(program_edition())
    told = run("check", own, "--agencies", granted, "--edition", approved, code=Exit.REFUSED)
    assert "B1-177 is granted" in told
    assert "in edition 2019-01, digest" in told


def test_what_has_ended_is_told_as_of_today_unless_another_day_is_given(tmp_path: Path) -> None:
    today = today_in_japan()
    ended = {"B1-77": {"valid_to": (today - timedelta(days=1)).isoformat()}}
    file = tmp_path / "in-force.toml"
    file.write_bytes(draft_text("2026-04", today - timedelta(days=60), rows=ended))
    assert "expired" in run("check", file, code=Exit.REFUSED)
    run("check", file, "--on", today - timedelta(days=1))
    coming = tmp_path / "coming.toml"
    coming.write_bytes(draft_text("2026-05", today + timedelta(days=60), rows=ended))
    assert "expired" in run("check", coming, "--on", today - timedelta(days=1), code=Exit.REFUSED)


def test_two_agencies_that_are_one_body_are_told(agencies: Path) -> None:
    text = agencies.read_text("utf-8").replace('bodies = ["national-tax-agency"]', 'bodies = ["japan-pension-service"]')
    agencies.write_text(text, "utf-8")
    result = jukinet("statutes", "check", "--agencies", str(agencies))
    assert result.exit_code == Exit.USAGE
    assert f"agencies {PENSION_SERVICE} and {TAX_AGENCY} both have the body japan-pension-service" in result.stderr


def test_who_had_the_grants_of_a_wrong_draft_checked_is_told_that_they_were_not(tmp_path: Path, agencies: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_bytes(draft_text(rows={"B1-72": {"bodies": ""}}))
    result = jukinet("statutes", "check", str(file), "--agencies", str(agencies))
    assert (result.exit_code, "grants were not checked" in result.stderr) == (Exit.REFUSED, True)


def test_grants_of_rows_that_a_draft_takes_away_are_told(draft: Path, agencies: Path) -> None:
    assert "grant" in run("check", draft, "--agencies", agencies, code=Exit.REFUSED)
    run("check", draft)


@pytest.fixture
def approved(tmp_path: Path) -> Path:
    """An edition of before the draft, with a row that the program's own lacks and the draft takes out again."""
    file = tmp_path / "approved.toml"
    file.write_bytes(draft_text("2025-04", date(2025, 4, 1), renamed={"B1-77": "B1-177"}))
    return file


@pytest.fixture
def granted(agencies: Path) -> Path:
    """The directory as it was granted under that edition."""
    agencies.write_text(agencies.read_text("utf-8").replace('"B1-77"', '"B1-77", "B1-177"'), "utf-8")
    return agencies


def test_a_grant_of_a_row_that_only_an_approved_edition_has_is_a_finding(
    draft: Path, approved: Path, granted: Path
) -> None:
    found = json.loads(run("check", draft, "--agencies", granted, "--edition", approved, "--json", code=Exit.REFUSED))[
        "findings"
    ]
    told = "row B1-177 is granted and is not in this edition"
    assert {"kind": "grant", "where": PENSION_SERVICE, "text": told} in found


def test_a_row_that_no_given_edition_has_is_wrong_usage_and_says_what_is_known(draft: Path, granted: Path) -> None:
    result = jukinet("statutes", "check", str(draft), "--agencies", str(granted))
    assert result.exit_code == Exit.USAGE
    assert "Known are the editions 2019-01, 2026-04" in result.stderr


def test_a_replay_refuses_the_questions_of_a_row_that_only_an_approved_edition_has(
    draft: Path, approved: Path, granted: Path, tmp_path: Path
) -> None:
    exported = _export(tmp_path, [_leaf(0, "B1-177", edition="2025-04"), _leaf(1, "B1-72", edition="2025-04")])
    words = ("--ledger", exported, "--agencies", granted, "--edition", approved, "--json")
    found = json.loads(run("replay", draft, *words, code=Exit.REFUSED))
    assert [(each["row"], each["would_be"]) for each in found["different"]] == [("B1-177", "PURPOSE_UNKNOWN")]
    assert found["same"] == 1


def test_two_editions_of_one_name_are_wrong_usage(draft: Path, agencies: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_bytes(draft_text(rows={"B1-72": None}))
    result = jukinet("statutes", "check", str(draft), "--agencies", str(agencies), "--edition", str(other))
    assert (result.exit_code, "two different editions are called 2026-04" in result.stderr) == (Exit.USAGE, True)


def test_files_that_cannot_be_read_are_wrong_usage(tmp_path: Path, draft: Path, exported: Path, agencies: Path) -> None:
    absent = tmp_path / "absent"
    run("check", absent, code=Exit.USAGE)
    run("check", "--agencies", absent, code=Exit.USAGE)
    run("show", "--edition", exported, code=Exit.USAGE)
    run("replay", draft, "--ledger", draft, "--agencies", agencies, code=Exit.USAGE)
    run("replay", draft, "--ledger", absent, "--agencies", agencies, code=Exit.USAGE)
    run("replay", exported, "--ledger", exported, "--agencies", agencies, code=Exit.USAGE)


def test_a_row_is_shown_with_what_it_opens(draft: Path) -> None:
    shown = json.loads(run("show", "B1-77", "--on", "2026-04-01", "--json"))
    (row,) = shown["rows"]
    assert (shown["edition"], row["article"], row["live"]) == ("2019-01", "30-9", True)
    assert row["bodies"] == ["ministry-of-health-labour-and-welfare", "japan-pension-service"]
    assert (row["individual_number"], row["resident_code"]) == (True, False)
    assert row["provisions"] == ["batch", "changes", "immediate"]
    assert json.loads(run("show", "B1-77", "--on", "2019-01-06", "--json"))["rows"][0]["live"] is False
    assert len(json.loads(run("show", "--on", "2026-04-01", "--json"))["rows"]) == 418
    assert "B1-77" in run("show", "B1-77")
    run("show", "B1-77", "--edition", draft, code=Exit.USAGE)


def test_a_draft_begins_as_the_programs_own_edition_and_never_replaces_a_file(tmp_path: Path) -> None:
    file = tmp_path / "new.toml"
    run("draft", file)
    assert file.read_bytes() == program_edition()
    run("draft", file, code=Exit.USAGE)


def test_a_replay_tells_what_a_draft_would_change(draft: Path, exported: Path, agencies: Path, tmp_path: Path) -> None:
    words = ("--ledger", exported, "--agencies", agencies)
    found = json.loads(run("replay", draft, *words, "--json", code=Exit.REFUSED))
    assert (found["questions"], found["same"], found["would_differ"], found["cannot_know"]) == (2, 1, 1, 0)
    assert found["different"] == [
        {
            "questions": 1,
            "agency": f"{SPIFFE_PREFIX}{PENSION_SERVICE}",
            "action": "ACTION_INQUIRE",
            "row": "B1-77",
            "edition": "2019-01",
            "was": "answered",
            "would_be": "PURPOSE_UNKNOWN",
        }
    ]
    assert "would differ: 1" in run("replay", draft, *words, code=Exit.REFUSED)
    same = tmp_path / "same.toml"
    same.write_bytes(draft_text("2026-04", date(2026, 4, 1)))
    assert "would differ: 0" in run("replay", same, *words)


def test_a_replay_says_what_it_did_not_replay_and_why(
    draft: Path, approved: Path, agencies: Path, tmp_path: Path
) -> None:
    refused = {
        "result": ledger.RESULT_REFUSED, "refusal": errors.ERROR_REASON_BUDGET_EXCEEDED, "fields": [], "token": b"",
        "answer": None, "edition": "2025-04",
    }  # fmt: skip
    unknown = _leaf(1, "B1-72", agency=f"{SPIFFE_PREFIX}somebody")
    exported = _export(tmp_path, [_leaf(0, "B1-72", **refused), unknown])
    words = ("replay", draft, "--ledger", exported, "--agencies", agencies)
    found = json.loads(run(*words, "--json"))
    assert (found["entries"], found["questions"], found["left_out"], found["cannot_know"]) == (2, 1, 1, 1)
    assert found["not_told"] == [
        {
            "entries": 1,
            "counted": "cannot know",
            "action": "ACTION_INQUIRE",
            "why": "the directory does not list the agency",
        },
        {
            "entries": 1,
            "counted": "left out",
            "action": "ACTION_INQUIRE",
            "why": "refused for another reason: BUDGET_EXCEEDED",
        },
    ]
    assert found["unknown_editions"] == ["2025-04"]
    told = run(*words)
    assert "refused for another reason: BUDGET_EXCEEDED" in told
    assert "not given with --edition: 2025-04" in told
    assert json.loads(run(*words, "--edition", approved, "--json"))["unknown_editions"] == []


def test_a_replay_refuses_an_edition_that_the_ledger_approved_otherwise(
    draft: Path, agencies: Path, tmp_path: Path
) -> None:
    act = make_act(
        EntryKeys(bytes(32)), time=datetime(2026, 3, 2, tzinfo=UTC), request_id=f"5f7d1c1e-0000-4000-8000-{0:012x}",
        gateway="spiffe://nodes.jukinet/gateway/gateway-1", operator="spiffe://operators.jukinet/operator",
        action=ledger.ACTION_APPROVE_EDITION, about="2026-04", edition="2026-04", edition_digest=bytes(32),
        policy_digest=bytes(32),
    )  # fmt: skip
    exported = _export(tmp_path, [encode(act)])
    words = ["statutes", "replay", str(draft), "--ledger", str(exported), "--agencies", str(agencies)]
    result = jukinet(*words)
    assert (result.exit_code, "another edition called 2026-04" in result.stderr) == (Exit.USAGE, True)


@pytest.mark.parametrize("digest", ["", "6f0c", "x" * 64])
def test_a_digest_that_is_none_is_wrong_usage(tmp_path: Path, digest: str) -> None:
    run("approve", digest, "--mesh", tmp_path, "--to", "center", code=Exit.USAGE)
