"""The twenty lawful reasons: each may do what Rules art. 11 says of it, and nothing else."""

from itertools import product

import protovalidate
import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.intake.v1 import intake_pb2
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.domain.apply import apply
from jukinet.domain.change import REASONS, Act, facts_of, reason_named, resident_codes
from jukinet.domain.refusal import ChangeRefused

HERE, THERE = "131016", "131024"
CODE, NEW_CODE = "24727059608", "24846016224"
NUMBER, NEW_NUMBER = "379474484458", "454972364860"

# Written down apart from the program: English id, Japanese name, items that may change, field of the old value.
TABLE = [
    ("ENTRY_DOMESTIC_MOVE_IN", "国内転入", "*", ""),
    ("ENTRY_ABROAD_MOVE_IN", "国外転入等", "*", ""),
    ("ENTRY_BIRTH", "出生", "*", ""),
    ("ENTRY_NATURALIZATION", "職権記載等（帰化等）", "*", ""),
    ("ENTRY_LOSS_OF_NATIONALITY", "職権記載等（国籍喪失）", "*", ""),
    ("ENTRY_EX_OFFICIO", "職権記載等", "*", ""),
    ("DELETION_DOMESTIC_MOVE_OUT", "国内転出", "", ""),
    ("DELETION_ABROAD_MOVE_OUT", "国外転出", "", ""),
    ("DELETION_DEATH", "死亡", "", ""),
    ("DELETION_NATURALIZATION", "職権消除等（帰化等）", "", ""),
    ("DELETION_LOSS_OF_NATIONALITY", "職権消除等（国籍喪失）", "", ""),
    ("DELETION_EX_OFFICIO", "職権消除等", "", ""),
    ("CORRECTION_MOVE_WITHIN", "転居", "address", ""),
    ("CORRECTION_MINOR", "軽微な修正", "name address", ""),
    ("CORRECTION_EX_OFFICIO", "職権修正等", "name birth_date sex address", ""),
    ("CORRECTION_INDIVIDUAL_NUMBER_REQUEST", "個人番号の変更請求", "individual_number", "previous_individual_number"),
    (
        "CORRECTION_INDIVIDUAL_NUMBER_EX_OFFICIO",
        "個人番号の職権修正",
        "individual_number",
        "previous_individual_number",
    ),
    ("CORRECTION_INDIVIDUAL_NUMBER_OTHER", "個人番号の職権記載等", "individual_number", "previous_individual_number"),
    ("CORRECTION_RESIDENT_CODE_REQUEST", "住民票コードの変更請求", "resident_code", "previous_resident_code"),
    ("CORRECTION_RESIDENT_CODE_OTHER", "住民票コードの職権記載等", "resident_code", "previous_resident_code"),
    ("PROTECTION_BEGIN", "支援措置の開始", "", ""),
    ("PROTECTION_END", "支援措置の終了", "", ""),
]
ITEMS = ("resident_code", "name", "birth_date", "sex", "address", "individual_number")
STATUS_AFTER = {
    "DELETION_DOMESTIC_MOVE_OUT": "RESIDENT_STATUS_MOVED_OUT",
    "DELETION_ABROAD_MOVE_OUT": "RESIDENT_STATUS_MOVED_ABROAD",
    "DELETION_DEATH": "RESIDENT_STATUS_DECEASED",
    "DELETION_NATURALIZATION": "RESIDENT_STATUS_DELETED",
    "DELETION_LOSS_OF_NATIONALITY": "RESIDENT_STATUS_DELETED",
    "DELETION_EX_OFFICIO": "RESIDENT_STATUS_DELETED",
}


def record() -> identity_pb2.IdentityRecord:
    return identity_pb2.IdentityRecord(
        resident_code=CODE,
        name=identity_pb2.PersonName(legal="髙﨑 花子", furigana="タカサキ ハナコ"),
        birth_date=identity_pb2.BirthDate(year=1980, month=2, day=3),
        sex=identity_pb2.SEX_FEMALE,
        address=identity_pb2.Address(local_government_code=HERE, town="九段南一丁目", block="2番1号"),
        individual_number=NUMBER,
    )


def row() -> identity_pb2.Resident:
    return identity_pb2.Resident(
        record=record(),
        version=4,
        status=identity_pb2.RESIDENT_STATUS_ACTIVE,
        holder=HERE,
        effective_date=day(2026, 1, 1),
    )


def day(year: int, month: int, of_month: int) -> identity_pb2.CalendarDate:
    return identity_pb2.CalendarDate(year=year, month=month, day=of_month)


def alter(changed: identity_pb2.IdentityRecord, item: str) -> None:
    match item:
        case "resident_code":
            changed.resident_code = NEW_CODE
        case "name":
            changed.name.furigana = "タカザキ ハナコ"
        case "birth_date":
            changed.birth_date.day = 4
        case "sex":
            changed.sex = identity_pb2.SEX_UNKNOWN
        case "address":
            changed.address.building = "九段ハイツ 101"
        case "individual_number":
            changed.individual_number = NEW_NUMBER


def change_with(english: str, *items: str) -> change_pb2.Change:
    """A change of the active row for one reason, lawful but for what the altered items make of it."""
    change = change_pb2.Change(
        reason=reason_named(english).reason, event_date=day(2026, 4, 1), record=record(), version=5
    )
    change.protected = english == "PROTECTION_BEGIN"
    if english == "DELETION_DOMESTIC_MOVE_OUT":
        change.next_municipality = THERE
    for item in items:
        alter(change.record, item)
    if "INDIVIDUAL_NUMBER" in english:
        change.previous_individual_number = NUMBER
    if "RESIDENT_CODE" in english:
        change.previous_resident_code = CODE
    return change


def refusal_of(change: change_pb2.Change, current: dict[str, identity_pb2.Resident]) -> tuple[str, str]:
    with pytest.raises(ChangeRefused) as refused:
        apply(change, municipality=HERE, scope="", current=current)
    return errors_pb2.ErrorReason.Name(refused.value.reason).removeprefix("ERROR_REASON_"), refused.value.field


def broken_rules(message: change_pb2.Change | intake_pb2.Submission) -> set[str]:
    """The rules between fields that a message breaks, without the name of the message."""
    rules = {violation.proto.rule_id for violation in protovalidate.collect_violations(message)}
    return {rule.partition(".")[2] for rule in rules}


CORRECTIONS = [entry for entry in TABLE if entry[0].startswith("CORRECTION")]
DELETIONS = [entry for entry in TABLE if entry[0].startswith("DELETION")]
PROTECTIONS = [entry for entry in TABLE if entry[0].startswith("PROTECTION")]
# On a change of the code the person is the one of the previous code, so another code alone is not a foreign item.
CODE_CHANGES = {"CORRECTION_RESIDENT_CODE_REQUEST", "CORRECTION_RESIDENT_CODE_OTHER"}


def test_the_list_of_reasons_is_closed() -> None:
    named = [value for value in change_pb2.ChangeReason.values() if value]
    assert sorted(REASONS) == sorted(named) == list(range(1, 23))
    assert [facts.name for facts in REASONS.values()] == [english for english, *_ in TABLE]


@pytest.mark.parametrize(("english", "japanese", "may_change", "carries"), TABLE)
def test_each_reason_is_found_by_both_names_and_says_what_it_may(
    english: str, japanese: str, may_change: str, carries: str
) -> None:
    facts = reason_named(english)
    assert facts is reason_named(japanese) is facts_of(facts.reason)
    assert facts.japanese == japanese
    assert facts.act is Act[english.partition("_")[0]]
    assert facts.may_change == (set(ITEMS) if may_change == "*" else set(may_change.split()))
    assert facts.carries.value == carries
    assert facts.planned == (english in {"DELETION_DOMESTIC_MOVE_OUT", "DELETION_ABROAD_MOVE_OUT"})
    assert facts.planned == facts.date_means.startswith("planned")
    assert facts.source.startswith("guidelines" if facts.act is Act.PROTECTION else "Rules art. 11 para. ")
    assert facts.english


def test_each_reason_has_its_own_legal_item() -> None:
    assert len({facts.source for facts in REASONS.values() if facts.act is not Act.PROTECTION}) == 20


def test_brackets_of_a_japanese_name_may_be_half_width() -> None:
    assert reason_named(" 職権記載等(帰化等) ").name == "ENTRY_NATURALIZATION"


@pytest.mark.parametrize("name", ["", "転職", "BIRTH", "CHANGE_REASON_ENTRY_BIRTH"])
def test_what_the_rules_do_not_name_is_no_reason(name: str) -> None:
    with pytest.raises(ChangeRefused) as refused:
        reason_named(name)
    assert refused.value.reason == errors_pb2.ERROR_REASON_CHANGE_UNKNOWN_TYPE


@pytest.mark.parametrize("number", [0, 23, 99])
def test_a_reason_of_a_later_version_is_refused_as_unknown(number: int) -> None:
    change = change_with("CORRECTION_MINOR", "name")
    change.reason = change_pb2.ChangeReason.ValueType(number)
    assert refusal_of(change, {CODE: row()}) == ("CHANGE_UNKNOWN_TYPE", "reason")


@pytest.mark.parametrize("item", ITEMS)
@pytest.mark.parametrize(("english", "japanese", "may_change", "carries"), CORRECTIONS)
def test_a_correction_changes_what_its_reason_covers_and_nothing_else(
    english: str, japanese: str, may_change: str, carries: str, item: str
) -> None:
    covered = may_change.split()
    altered = {item, "resident_code"} if english in CODE_CHANGES else {item}
    change = change_with(english, *altered)
    if item in covered:
        written = apply(change, municipality=HERE, scope="", current={CODE: row()})
        assert written[0].record == change.record
        assert written[0].version == 5
    elif item == "resident_code":
        # Without a previous code, another code is another person.
        assert refusal_of(change, {CODE: row()})[0] == "WAITING_FOR_EARLIER_CHANGE"
    else:
        assert refusal_of(change, {CODE: row()}) == ("CHANGE_NOT_COVERED", f"record.{item}")


@pytest.mark.parametrize("item", ITEMS[1:])
@pytest.mark.parametrize(("english", "japanese", "may_change", "carries"), DELETIONS + PROTECTIONS)
def test_a_deletion_or_protection_changes_nothing(
    english: str, japanese: str, may_change: str, carries: str, item: str
) -> None:
    assert refusal_of(change_with(english, item), {CODE: row()}) == ("CHANGE_NOT_COVERED", f"record.{item}")


@pytest.mark.parametrize(("english", "japanese", "may_change", "carries"), DELETIONS)
def test_a_deletion_keeps_the_record_as_written_before_it(
    english: str, japanese: str, may_change: str, carries: str
) -> None:
    change = change_with(english)
    (written,) = apply(change, municipality=HERE, scope="", current={CODE: row()})
    assert written.record == record()
    assert identity_pb2.ResidentStatus.Name(written.status) == STATUS_AFTER[english]
    assert written.next_municipality == (THERE if english == "DELETION_DOMESTIC_MOVE_OUT" else "")
    assert written.effective_date == change.event_date


@pytest.mark.parametrize(("english", "japanese", "may_change", "carries"), CORRECTIONS)
def test_a_correction_that_changes_nothing_is_refused(
    english: str, japanese: str, may_change: str, carries: str
) -> None:
    change = change_with(english)
    if english in CODE_CHANGES:
        assert broken_rules(change) == {"previous_resident_code"}
    else:
        assert refusal_of(change, {CODE: row()}) == ("CHANGE_NOT_COVERED", "record")


# Rules art. 11: the reasons that carry a field, and those of them that may lack it.
CARRIED = {
    "next_municipality": ({"DELETION_DOMESTIC_MOVE_OUT"}, set[str]()),
    "previous_municipality": ({"ENTRY_DOMESTIC_MOVE_IN"}, set[str]()),
    "previous_individual_number": (
        {entry[0] for entry in TABLE if entry[3] == "previous_individual_number"},
        {"CORRECTION_INDIVIDUAL_NUMBER_OTHER"},
    ),
    "previous_resident_code": (CODE_CHANGES, {"CORRECTION_RESIDENT_CODE_OTHER"}),
}
VALUES = {
    "next_municipality": THERE,
    "previous_municipality": THERE,
    "previous_individual_number": NEW_NUMBER,
    "previous_resident_code": NEW_CODE,
}


@pytest.mark.parametrize("field", CARRIED)
@pytest.mark.parametrize("english", [entry[0] for entry in TABLE])
def test_a_reason_carries_what_the_rules_give_it_and_no_field_of_another(english: str, field: str) -> None:
    carriers, may_lack = CARRIED[field]
    change = change_with(english)
    for each, value in VALUES.items():
        setattr(change, each, value if english in CARRIED[each][0] else "")
    assert broken_rules(change) == set()
    setattr(change, field, VALUES[field])
    assert broken_rules(change) == (set() if english in carriers else {field})
    setattr(change, field, "")
    assert broken_rules(change) == ({field} if english in carriers - may_lack else set())


@pytest.mark.parametrize("english", [entry[0] for entry in TABLE])
def test_a_submission_that_the_contract_allows_makes_a_change_that_it_allows(english: str) -> None:
    change = change_with(english)
    submission = intake_pb2.Submission(
        message_id="m-1",
        reason=change.reason,
        event_date=change.event_date,
        resident_code=change.record.resident_code,
        record=change.record,
        transfer_version=1 if english == "ENTRY_DOMESTIC_MOVE_IN" else 0,
    )
    allowed = 0
    for carried in product(*([("", ""), (field, value)] for field, value in VALUES.items())):
        for message in (change, submission):
            for field in VALUES:
                setattr(message, field, dict(carried).get(field, ""))
        assert broken_rules(change) <= broken_rules(submission)
        allowed += not broken_rules(submission)
    assert allowed


@pytest.mark.parametrize("english", ["CORRECTION_INDIVIDUAL_NUMBER_REQUEST", "CORRECTION_INDIVIDUAL_NUMBER_EX_OFFICIO"])
def test_a_changed_number_needs_the_number_that_the_register_holds(english: str) -> None:
    change = change_with(english, "individual_number")
    change.previous_individual_number = NEW_NUMBER
    assert refusal_of(change, {CODE: row()}) == ("PREVIOUS_VALUE", "previous_individual_number")
    unnumbered = row()
    unnumbered.record.individual_number = ""
    assert refusal_of(change, {CODE: unnumbered}) == ("PREVIOUS_VALUE", "previous_individual_number")


def test_a_first_number_is_entered_without_a_previous_one() -> None:
    unnumbered = row()
    unnumbered.record.individual_number = ""
    change = change_with("CORRECTION_INDIVIDUAL_NUMBER_OTHER")
    change.previous_individual_number = ""
    (written,) = apply(change, municipality=HERE, scope="", current={CODE: unnumbered})
    assert written.record.individual_number == NUMBER
    assert refusal_of(change, {CODE: row()}) == ("PREVIOUS_VALUE", "previous_individual_number")


def test_a_number_is_never_taken_away() -> None:
    change = change_with("CORRECTION_INDIVIDUAL_NUMBER_OTHER")
    change.record.individual_number = ""
    assert refusal_of(change, {CODE: row()}) == ("CHANGE_NOT_COVERED", "record.individual_number")


@pytest.mark.parametrize("english", sorted(CODE_CHANGES))
def test_a_changed_code_goes_on_under_the_new_code_and_retires_the_old_one(english: str) -> None:
    change = change_with(english, "resident_code")
    new, old = apply(change, municipality=HERE, scope="", current={CODE: row()})
    assert new.record == change.record
    assert (new.version, new.status, new.holder) == (5, identity_pb2.RESIDENT_STATUS_ACTIVE, HERE)
    assert old.record == record()
    assert (old.version, old.status, old.successor_code) == (5, identity_pb2.RESIDENT_STATUS_RETIRED, NEW_CODE)


def test_a_birth_is_entered_on_the_day_of_birth_as_the_first_version() -> None:
    birth = change_with("ENTRY_BIRTH")
    birth.version = 1
    birth.event_date.CopyFrom(day(1980, 2, 3))
    (written,) = apply(birth, municipality=HERE, scope="", current={})
    assert written.version == 1
    birth.record.birth_date.day = 0
    assert refusal_of(birth, {}) == ("BIRTH_DATE", "record.birth_date")
    birth.record.birth_date.day = 2
    assert refusal_of(birth, {}) == ("BIRTH_DATE", "record.birth_date")
    birth.record.birth_date.day = 3
    birth.version = 2
    assert refusal_of(birth, {}) == ("VERSION_CONFLICT", "version")


@pytest.mark.parametrize(
    ("born", "lawful"),
    [((2026, 4, 1), True), ((2026, 4, 2), False), ((2026, 4, 0), True), ((2026, 5, 0), False), ((0, 0, 0), True)],
)
def test_nobody_is_entered_before_birth_as_far_as_it_is_known(born: tuple[int, int, int], lawful: bool) -> None:
    entry = change_with("ENTRY_EX_OFFICIO")
    entry.version = 1
    entry.record.birth_date.CopyFrom(identity_pb2.BirthDate(year=born[0], month=born[1], day=born[2]))
    if lawful:
        assert apply(entry, municipality=HERE, scope="", current={})
    else:
        assert refusal_of(entry, {}) == ("BIRTH_DATE", "record.birth_date")


def test_the_rows_that_decide_on_a_change_are_named() -> None:
    assert resident_codes(change_with("CORRECTION_MINOR")) == (CODE,)
    change = change_with("CORRECTION_RESIDENT_CODE_OTHER", "resident_code")
    assert resident_codes(change) == (NEW_CODE, CODE)
    submission = intake_pb2.Submission(resident_code=NEW_CODE, previous_resident_code=CODE)
    assert resident_codes(submission) == (NEW_CODE, CODE)


def test_a_refusal_says_what_to_do_and_shows_nothing_of_the_person() -> None:
    change = change_with("CORRECTION_MOVE_WITHIN", "name")
    with pytest.raises(ChangeRefused, match="Use the reason that covers it") as refused:
        apply(change, municipality=HERE, scope="", current={CODE: row()})
    shown = f"{refused.value!r} {refused.value} {refused.value.field}"
    assert not any(secret in shown for secret in (CODE, NUMBER, "髙﨑", "九段"))
