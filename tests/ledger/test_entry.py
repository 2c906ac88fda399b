"""Entries hold no personal data, and nothing else can be brought in as an entry."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.ledger.entry import EntryKeys, made_like, make_act, make_entry, month_key, person_token
from jukinet.ledger.errors import EntryInvalid
from jukinet.ledger.layout import check, decode, encode
from jukinet.ledger.verify.findings import Unsound
from jukinet.ledger.verify.layout import read_entry
from jukinet.purpose.edition import load_statute

KEYS = EntryKeys(b"\x05" * 32)
CODE = "00000000019"
Arguments = Callable[[int], dict[str, Any]]
MakeLeaf = Callable[..., bytes]


def test_an_entry_comes_back_as_it_was_made(entry_arguments: Arguments) -> None:
    entry = make_entry(KEYS, **entry_arguments(1))
    assert decode(encode(entry)) == entry
    assert entry.version == 3
    assert entry.operator_proof == b"\x08" * 32
    assert list(entry.fields) == list(entry.wanted) == [1, 2, 4]
    assert (entry.method, entry.edition) == (1, "2019-01")


OF_ONE_PERSON = ("request_id", "token", "answer", "body_digest")
NOBODY = {"result": ledger_pb2.RESULT_NO_SINGLE_MATCH, "fields": (), "token": b""}
REFUSED = {
    **NOBODY,
    "result": ledger_pb2.RESULT_REFUSED,
    "refusal": errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE,
    "answer": None,
}


@pytest.mark.parametrize("kind", [{}, {"body_digest": b"b" * 32}, NOBODY, REFUSED])
def test_an_entry_made_like_another_is_the_one_that_is_made_alone(
    entry_arguments: Arguments, kind: dict[str, Any]
) -> None:
    theirs = {"body_digest": b"", **entry_arguments(1), **kind}
    own = {**theirs, **{key: value for key, value in entry_arguments(2).items() if key in OF_ONE_PERSON}, **kind}
    model = make_entry(KEYS, **theirs)
    made = made_like(model, KEYS, **{key: own[key] for key in OF_ONE_PERSON})
    assert made == make_entry(KEYS, **{**theirs, **{key: own[key] for key in OF_ONE_PERSON}})
    assert decode(encode(made)) == made
    assert model == make_entry(KEYS, **theirs)


@pytest.mark.parametrize(("changed", "token"), [({}, b""), ({}, bytes(31)), ({}, bytes(33)), (NOBODY, bytes(31))])
def test_an_entry_made_like_another_has_a_token_or_none(
    entry_arguments: Arguments, changed: dict[str, Any], token: bytes
) -> None:
    model = make_entry(KEYS, **{**entry_arguments(1), **changed})
    with pytest.raises(EntryInvalid, match="person_token"):
        made_like(model, KEYS, request_id=entry_arguments(2)["request_id"], token=token, answer=b"")


def test_no_personal_value_is_in_the_bytes_of_an_entry(leaf: MakeLeaf) -> None:
    canaries = ["山田CANARY太郎", "事案CANARY", CODE]
    token = person_token(month_key(b"\x09" * 32, datetime(2026, 4, 1, tzinfo=UTC)), CODE)
    made = leaf(1, operator=canaries[0], case_reference=canaries[1], token=token, answer="".join(canaries).encode())
    for canary in canaries:
        assert canary.encode() not in made


@pytest.mark.parametrize("field", ["request_id", "agency", "purpose", "article", "edition"])
@given(text=st.text(min_size=1))
def test_free_text_gets_into_no_field(entry_arguments: Arguments, field: str, text: str) -> None:
    with pytest.raises(EntryInvalid) as refused:
        make_entry(KEYS, **{**entry_arguments(1), field: text + "山田太郎"})
    assert "山田太郎" not in str(refused.value)


def test_a_name_in_an_unknown_field_is_refused(leaf: MakeLeaf) -> None:
    smuggled = leaf(1) + b"\x92\x06\x06" + "山田".encode()
    with pytest.raises(EntryInvalid, match="unknown fields"):
        decode(smuggled)


def test_a_second_spelling_of_an_entry_is_refused(leaf: MakeLeaf) -> None:
    with pytest.raises(EntryInvalid, match="canonically"):
        decode(leaf(1) + b"\x08\x01")


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_by_a_typed_error(content: bytes) -> None:
    with pytest.raises(EntryInvalid):
        decode(content)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 0),
        ("version", 2),
        ("version", 4),
        ("request_id", ""),
        ("request_id", "5F7D1C1E-0000-4000-8000-000000000001"),
        ("agency", "spiffe://elsewhere/agency/x"),
        ("agency", ""),
        ("operator_pseudonym", b"op-17"),
        ("purpose", ""),
        ("purpose", "B1-123456789018"),
        ("article", ""),
        ("case_commitment", b""),
        ("person_token", b""),
        ("person_token", b"x" * 31),
        ("action", 0),
        ("action", 99),
        ("result", 0),
        ("result", 99),
        ("refusal", errors_pb2.ERROR_REASON_PURPOSE_UNKNOWN),
        ("policy_digest", b""),
        ("answer_digest", b""),
        ("method", 0),
        ("method", 3),
        ("edition", ""),
        ("edition", "2019-1"),
        ("edition_digest", b"x" * 32),
        ("operator_proof", b"x" * 31),
    ],
)
def test_a_field_outside_its_layout_is_named(entry_arguments: Arguments, field: str, value: Any) -> None:
    entry = make_entry(KEYS, **entry_arguments(1))
    setattr(entry, field, value)
    with pytest.raises(EntryInvalid, match="Field operator_proof" if value == 2 else f"Field {field}"):
        check(entry)


@pytest.mark.parametrize("fields", [[0], [8], [1, 1], [2, 1]])
def test_released_fields_are_known_ones_in_order(entry_arguments: Arguments, fields: list[int]) -> None:
    entry = make_entry(KEYS, **entry_arguments(1))
    del entry.fields[:]
    entry.fields.extend(fields)
    with pytest.raises(EntryInvalid, match="Field fields"):
        encode(entry)


@pytest.mark.parametrize("wanted", [[0], [8], [1, 1, 2, 4], [2, 1, 4], [1, 2]])
def test_wanted_fields_are_known_ones_in_order_and_all_that_was_released(
    entry_arguments: Arguments, wanted: list[int]
) -> None:
    entry = make_entry(KEYS, **entry_arguments(1))
    del entry.wanted[:]
    entry.wanted.extend(wanted)
    with pytest.raises(EntryInvalid, match="Field wanted"):
        encode(entry)


ACT: dict[str, Any] = {
    "time": datetime(2026, 4, 1, tzinfo=UTC),
    "request_id": "5f7d1c1e-0000-4000-8000-000000000001",
    "gateway": "spiffe://nodes.jukinet/gateway/gateway-1",
    "operator": "spiffe://operators.jukinet/operator/CANARY",
    "action": ledger_pb2.ACTION_APPROVE_EDITION,
    "about": "2026-04",
    "edition": "2026-04",
    "edition_digest": b"\x03" * 32,
    "policy_digest": b"\x07" * 32,
}


def test_an_act_names_the_edition_and_its_operator_by_a_pseudonym_alone() -> None:
    made = encode(make_act(KEYS, **ACT))
    assert b"CANARY" not in made
    entry = read_entry(made)
    assert decode(made) == entry
    assert (entry.result, entry.edition, entry.edition_digest) == (ledger_pb2.RESULT_DONE, "2026-04", b"\x03" * 32)
    again = make_act(KEYS, **{**ACT, "action": ledger_pb2.ACTION_PROPOSE_EDITION})
    other = make_act(KEYS, **{**ACT, "operator": "spiffe://operators.jukinet/operator/other"})
    assert entry.operator_pseudonym == again.operator_pseudonym != other.operator_pseudonym


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 1),
        ("agency", "somebody"),
        ("purpose", "B1-77"),
        ("article", "30-9"),
        ("person_token", b"x" * 32),
        ("action", ledger_pb2.ACTION_INQUIRE),
        ("result", ledger_pb2.RESULT_PROVIDED),
        ("refusal", errors_pb2.ERROR_REASON_PURPOSE_UNKNOWN),
        ("answer_digest", b"x" * 32),
        ("method", 1),
        ("edition", ""),
        ("edition", "next year"),
        ("edition_digest", b""),
        ("policy_digest", b""),
        ("operator_proof", b"x" * 32),
    ],
)
def test_an_act_says_nothing_of_a_question(field: str, value: Any) -> None:
    entry = make_act(KEYS, **ACT)
    setattr(entry, field, value)
    with pytest.raises(EntryInvalid):
        encode(entry)
    with pytest.raises(Unsound):
        read_entry(entry.SerializeToString(deterministic=True))


def test_an_entry_of_layout_1_is_read_and_has_none_of_the_new_fields(entry_arguments: Arguments) -> None:
    entry = make_entry(KEYS, **entry_arguments(1))
    entry.version = 1
    for name in ("method", "wanted", "edition", "operator_proof"):
        entry.ClearField(name)
    old = entry.SerializeToString(deterministic=True)
    assert decode(old) == read_entry(old) == entry
    for name, value in (
        ("method", 1),
        ("edition", "2019-01"),
        ("edition_digest", b"x" * 32),
        ("operator_proof", b"x" * 32),
    ):
        mixed = ledger_pb2.Entry.FromString(old)
        setattr(mixed, name, value)
        with pytest.raises(EntryInvalid, match=f"Field {name}"):
            encode(mixed)
        with pytest.raises(Unsound, match=f"wrong {name}"):
            read_entry(mixed.SerializeToString(deterministic=True))


def test_only_a_proved_question_says_that_its_person_was_new(entry_arguments: Arguments) -> None:
    proved = make_entry(KEYS, **entry_arguments(1), new_subject=True)
    assert read_entry(encode(proved)).new_subject
    with pytest.raises(EntryInvalid, match="Field new_subject"):
        make_entry(KEYS, **{**entry_arguments(1), "proof": b""}, new_subject=True)
    proved.ClearField("operator_proof")
    with pytest.raises(Unsound, match="wrong new_subject"):
        read_entry(proved.SerializeToString(deterministic=True))


def test_an_entry_of_layout_2_is_read_and_has_no_proof_of_an_operator(entry_arguments: Arguments) -> None:
    entry = make_entry(KEYS, **{**entry_arguments(1), "proof": b""})
    entry.version = 2
    old = entry.SerializeToString(deterministic=True)
    assert decode(old) == read_entry(old) == entry
    entry.operator_proof = b"x" * 32
    with pytest.raises(EntryInvalid, match="Field operator_proof"):
        encode(entry)
    with pytest.raises(Unsound, match="wrong operator_proof"):
        read_entry(entry.SerializeToString(deterministic=True))


def test_an_entry_of_layout_2_is_read_and_binds_no_body(entry_arguments: Arguments) -> None:
    entry = make_entry(KEYS, **{**entry_arguments(1), "proof": b""})
    entry.version = 2
    old = entry.SerializeToString(deterministic=True)
    assert decode(old) == read_entry(old) == entry
    entry.body_digest = b"x" * 32
    with pytest.raises(EntryInvalid, match="Field body_digest"):
        encode(entry)
    with pytest.raises(Unsound, match="wrong body_digest"):
        read_entry(entry.SerializeToString(deterministic=True))


def test_an_answer_may_bind_a_body_and_a_refusal_none(leaf: MakeLeaf) -> None:
    assert decode(leaf(1, body_digest=b"x" * 32)) == read_entry(leaf(1, body_digest=b"x" * 32))
    refusal: dict[str, Any] = {"result": 3, "refusal": 73, "fields": [], "token": b"", "answer": None}
    too_short: dict[str, Any] = {"body_digest": b"x" * 31}
    for wrong in (too_short, {**refusal, "body_digest": b"x" * 32}):
        with pytest.raises(EntryInvalid, match="Field body_digest"):
            leaf(1, **wrong)
        entry = decode(leaf(1, **{**wrong, "body_digest": b""}))
        entry.body_digest = wrong["body_digest"]
        with pytest.raises(Unsound, match="wrong body_digest"):
            read_entry(entry.SerializeToString(deterministic=True))


def test_the_taking_of_a_body_speaks_of_no_edition() -> None:
    taking = {**ACT, "action": ledger_pb2.ACTION_TAKE_BODY, "about": "17", "edition": "", "edition_digest": b""}
    entry = make_act(KEYS, **taking)
    made = encode(entry)
    assert decode(made) == read_entry(made) == entry
    for field, value in (("edition", "2026-04"), ("edition_digest", b"x" * 32), ("version", 2), ("body_digest", b"x")):
        wrong = ledger_pb2.Entry.FromString(made)
        setattr(wrong, field, value)
        with pytest.raises(EntryInvalid):
            encode(wrong)
        with pytest.raises(Unsound):
            read_entry(wrong.SerializeToString(deterministic=True))


def test_an_entry_needs_a_time(entry_arguments: Arguments) -> None:
    entry = make_entry(KEYS, **entry_arguments(1))
    entry.ClearField("time")
    with pytest.raises(EntryInvalid, match="Field time"):
        check(entry)


def test_every_row_of_the_statute_table_and_every_article_fits(leaf: MakeLeaf) -> None:
    rows = load_statute().rows.values()
    named = {f"{row.key}.{item}" for row in rows for item in row.items} | {row.key for row in rows}
    for purpose in named:
        assert read_entry(leaf(1, purpose=purpose)).purpose == purpose
    for article in {row.article for row in rows} | {"30-6", "30-9", "30-25", "30-38", "number-act-9"}:
        assert read_entry(leaf(1, article=article)).article == article


def test_a_refusal_does_not_keep_a_purpose_that_could_be_a_number(leaf: MakeLeaf) -> None:
    refusal = {"result": 3, "refusal": 73, "fields": [], "token": b"", "answer": None}
    assert decode(leaf(1, **refusal, method=0, wanted=[], edition="")).method == 0
    assert decode(leaf(1, **refusal, purpose="B1-123456789018")).purpose == ""
    assert decode(leaf(1, **refusal, purpose="B1-999")).purpose == "B1-999"


def test_a_refusal_says_why_and_releases_nothing(leaf: MakeLeaf) -> None:
    refusal = {
        "result": ledger_pb2.RESULT_REFUSED,
        "refusal": errors_pb2.ERROR_REASON_PRIVATE_SECTOR_BANNED,
        "fields": [],
        "token": b"",
        "answer": None,
    }
    assert decode(leaf(1, **refusal, purpose="", article="30-38")).refusal == refusal["refusal"]
    for unlawful in ({"refusal": 0}, {"refusal": 9999}, {"fields": [1]}, {"answer": b"x"}):
        with pytest.raises(EntryInvalid):
            leaf(1, **{**refusal, **unlawful})


def test_no_single_match_releases_nothing(leaf: MakeLeaf) -> None:
    nothing = {"result": ledger_pb2.RESULT_NO_SINGLE_MATCH, "token": b"", "answer": b"x"}
    assert decode(leaf(1, **nothing, fields=[])).result == nothing["result"]
    with pytest.raises(EntryInvalid):
        leaf(1, **nothing, fields=[1])


def test_a_time_without_a_zone_is_refused(entry_arguments: Arguments) -> None:
    with pytest.raises(EntryInvalid, match="time zone"):
        make_entry(KEYS, **{**entry_arguments(1), "time": datetime(2026, 4, 1)})  # noqa: DTZ001
    with pytest.raises(ValueError, match="time zone"):
        month_key(bytes(32), datetime(2026, 4, 1))  # noqa: DTZ001


def test_the_time_is_kept_in_utc(leaf: MakeLeaf) -> None:
    japan = datetime(2026, 4, 1, 9, tzinfo=timezone(timedelta(hours=9)))
    assert leaf(1, time=japan) == leaf(1, time=datetime(2026, 4, 1, tzinfo=UTC))


def test_a_person_has_one_token_a_month_and_another_one_in_the_next() -> None:
    root = b"\x09" * 32
    april, may = datetime(2026, 4, 30, 23, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC)
    tokens = {person_token(month_key(root, day), CODE) for day in (april, april.replace(day=1), may)}
    assert len(tokens) == 2
    japan = timezone(timedelta(hours=9))
    assert month_key(root, datetime(2026, 5, 1, 8, tzinfo=japan)) == month_key(root, april)


def test_tokens_of_different_persons_and_keys_differ() -> None:
    day = datetime(2026, 4, 1, tzinfo=UTC)
    key, other = month_key(b"\x09" * 32, day), month_key(b"\x08" * 32, day)
    assert len({person_token(key, CODE), person_token(key, "00000000027"), person_token(other, CODE)}) == 3


def test_a_pseudonym_tells_agencies_and_uses_apart() -> None:
    made = {
        KEYS.operator_pseudonym("a", "bc"),
        KEYS.operator_pseudonym("ab", "c"),
        KEYS.case_commitment("a", "bc"),
        KEYS.case_commitment("a", "bc", under_seal=True),
        KEYS.answer_digest(b"abc"),
        KEYS.proof_digest(b"a", b"bc"),
        EntryKeys(b"\x06" * 32).operator_pseudonym("a", "bc"),
    }
    assert len(made) == 7
    assert all(len(digest) == 32 for digest in made)


def test_a_short_root_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        EntryKeys(b"short")
