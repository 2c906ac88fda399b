"""What a municipal system states becomes a change: dates against today, versions, records of deletions."""

import datetime
import sys
import unicodedata

import protovalidate
import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.intake.v1 import intake_pb2
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.domain.apply import apply
from jukinet.domain.change import REASONS, reason_named
from jukinet.domain.invisible import field_with_invisible
from jukinet.domain.refusal import ChangeRefused
from jukinet.domain.submission import complete

HERE, THERE, FAR = "131016", "131024", "141003"
CODE, CODE2 = "24727059608", "24846016224"
TODAY = datetime.date(2028, 2, 29)

Day = tuple[int, int, int]
Rows = dict[str, identity_pb2.Resident]


def record(code: str = CODE) -> identity_pb2.IdentityRecord:
    return identity_pb2.IdentityRecord(
        resident_code=code,
        name=identity_pb2.PersonName(legal="齋藤 桜"),
        birth_date=identity_pb2.BirthDate(year=1950),
        sex=identity_pb2.SEX_FEMALE,
        address=identity_pb2.Address(local_government_code=HERE, town="一番町"),
    )


def submission(reason: str, day: Day = (2028, 2, 1), **fields: object) -> intake_pb2.Submission:
    facts = reason_named(reason)
    made = intake_pb2.Submission(
        message_id="m-1",
        reason=facts.reason,
        event_date=identity_pb2.CalendarDate(year=day[0], month=day[1], day=day[2]),
        resident_code=CODE,
        **fields,  # type: ignore[arg-type]
    )
    if not reason.startswith(("DELETION", "PROTECTION")) and "record" not in fields:
        made.record.CopyFrom(record())
    return made


def row(status: str, version: int, *, next_municipality: str = "") -> Rows:
    made = identity_pb2.Resident(
        record=record(),
        version=version,
        status=identity_pb2.ResidentStatus.Value(f"RESIDENT_STATUS_{status}"),
        holder=HERE,
        next_municipality=next_municipality,
    )
    return {CODE: made}


def completed(made: intake_pb2.Submission, rows: Rows) -> change_pb2.Change:
    """The change, which the contract and the own register must accept as well."""
    change = complete(made, municipality=HERE, today=TODAY, current=rows)
    assert protovalidate.collect_violations(change) == []
    assert apply(change, municipality=HERE, scope=HERE, current=rows)
    return change


def refusal_of(made: intake_pb2.Submission, rows: Rows) -> tuple[str, str]:
    with pytest.raises(ChangeRefused) as refused:
        complete(made, municipality=HERE, today=TODAY, current=rows)
    return errors_pb2.ErrorReason.Name(refused.value.reason).removeprefix("ERROR_REASON_"), refused.value.field


def lawful(reason: str, day: Day) -> tuple[intake_pb2.Submission, Rows]:
    """A submission that is lawful but perhaps for its day."""
    made, rows = submission(reason, day), row("ACTIVE", 3)
    rows[CODE].record.individual_number = "379474484458"
    if made.HasField("record"):
        made.record.individual_number = "379474484458"
    match reason:
        case "ENTRY_BIRTH":
            made.record.birth_date.CopyFrom(identity_pb2.BirthDate(year=day[0], month=day[1], day=day[2]))
        case "ENTRY_DOMESTIC_MOVE_IN":
            made.previous_municipality, made.transfer_version = THERE, 2
        case "DELETION_DOMESTIC_MOVE_OUT":
            made.next_municipality = THERE
        case "CORRECTION_MOVE_WITHIN" | "CORRECTION_MINOR" | "CORRECTION_EX_OFFICIO":
            made.record.address.block = "3番"
    if "INDIVIDUAL_NUMBER" in reason:
        made.previous_individual_number, made.record.individual_number = "379474484458", "454972364860"
    if "RESIDENT_CODE" in reason:
        made.previous_resident_code, made.resident_code, made.record.resident_code = CODE, CODE2, CODE2
    return made, {} if reason.startswith("ENTRY") else rows


ALL = [facts.name for facts in REASONS.values()]
MOVE_OUTS = ["DELETION_DOMESTIC_MOVE_OUT", "DELETION_ABROAD_MOVE_OUT"]


@pytest.mark.parametrize("reason", ALL)
def test_every_reason_may_have_arisen_today(reason: str) -> None:
    made, rows = lawful(reason, (2028, 2, 29))
    change = completed(made, rows)
    assert change.event_date == made.event_date


@pytest.mark.parametrize("reason", ALL)
def test_only_a_move_out_may_lie_ahead_because_its_date_is_the_planned_one(reason: str) -> None:
    made, rows = lawful(reason, (2028, 3, 1))
    if reason in MOVE_OUTS:
        assert completed(made, rows).event_date == made.event_date
    else:
        assert refusal_of(made, rows) == ("EVENT_DATE", "event_date")


@pytest.mark.parametrize("reason", MOVE_OUTS)
@pytest.mark.parametrize(("day", "possible"), [((2029, 2, 28), True), ((2029, 3, 1), False), ((2030, 1, 1), False)])
def test_a_move_out_is_planned_at_most_one_year_ahead(reason: str, day: Day, possible: bool) -> None:
    made, rows = lawful(reason, day)
    if possible:
        completed(made, rows)
    else:
        assert refusal_of(made, rows) == ("EVENT_DATE", "event_date")


@pytest.mark.parametrize("day", [(2027, 2, 29), (2027, 4, 31), (0, 0, 0)])
def test_a_day_that_does_not_exist_is_refused(day: Day) -> None:
    assert refusal_of(submission("CORRECTION_MINOR", day), row("ACTIVE", 1)) == ("EVENT_DATE", "event_date")


def test_a_first_entry_has_version_one() -> None:
    assert completed(submission("ENTRY_EX_OFFICIO"), {}).version == 1


def test_a_correction_has_the_version_after_the_row() -> None:
    made = submission("CORRECTION_MOVE_WITHIN")
    made.record.address.town = "二番町"
    assert completed(made, row("ACTIVE", 7)).version == 8


def test_a_deletion_is_filled_with_the_record_of_the_register() -> None:
    change = completed(submission("DELETION_DEATH"), row("ACTIVE", 2))
    assert change.record == record()
    assert change.version == 3


def test_a_deletion_may_state_the_record_if_it_is_the_one_of_the_register() -> None:
    made = submission("DELETION_DEATH", record=record())
    assert completed(made, row("ACTIVE", 2)).version == 3
    made.record.name.legal = "斎藤 桜"
    assert refusal_of(made, row("ACTIVE", 2)) == ("CHANGE_NOT_COVERED", "record.name")


def test_a_move_in_has_the_version_after_the_move_out_certificate() -> None:
    made = submission("ENTRY_DOMESTIC_MOVE_IN", previous_municipality=FAR, transfer_version=4)
    assert completed(made, {}).version == 5


def test_one_who_returns_has_the_version_after_the_certificate_and_not_after_the_old_row() -> None:
    made = submission("ENTRY_DOMESTIC_MOVE_IN", previous_municipality=FAR, transfer_version=4)
    assert completed(made, row("MOVED_OUT", 2, next_municipality=FAR)).version == 5
    made = submission("ENTRY_ABROAD_MOVE_IN", transfer_version=6)
    assert completed(made, row("MOVED_OUT", 2, next_municipality=FAR)).version == 7


def test_one_who_returns_from_abroad_without_other_stay_follows_the_own_row() -> None:
    assert completed(submission("ENTRY_ABROAD_MOVE_IN"), row("MOVED_ABROAD", 2)).version == 3


def test_a_cancelled_move_follows_the_own_row() -> None:
    assert completed(submission("ENTRY_EX_OFFICIO"), row("MOVED_OUT", 2, next_municipality=FAR)).version == 3


def test_a_code_change_goes_on_counting_under_the_new_code() -> None:
    made, rows = lawful("CORRECTION_RESIDENT_CODE_REQUEST", (2028, 2, 1))
    change = completed(made, rows)
    assert (change.version, change.record.resident_code, change.previous_resident_code) == (4, CODE2, CODE)


@pytest.mark.parametrize("ticket", [0, 1, 2])
def test_a_certificate_not_newer_than_the_own_row_is_refused(ticket: int) -> None:
    made = submission("ENTRY_DOMESTIC_MOVE_IN", previous_municipality=FAR, transfer_version=ticket)
    rows = row("MOVED_OUT", 2, next_municipality=FAR)
    assert refusal_of(made, rows) == ("TRANSFER_MISMATCH", "transfer_version")


def test_only_entries_come_with_a_certificate() -> None:
    assert refusal_of(submission("ENTRY_BIRTH", transfer_version=3), {}) == ("TRANSFER_MISMATCH", "transfer_version")
    made = submission("DELETION_DEATH", transfer_version=3)
    assert refusal_of(made, row("ACTIVE", 2)) == ("TRANSFER_MISMATCH", "transfer_version")


@pytest.mark.parametrize("ticket", [0, 5])
@pytest.mark.parametrize("reason", ["ENTRY_ABROAD_MOVE_IN", "ENTRY_EX_OFFICIO", "ENTRY_NATURALIZATION"])
def test_an_active_resident_is_not_entered_again(reason: str, ticket: int) -> None:
    made = submission(reason, transfer_version=ticket)
    assert refusal_of(made, row("ACTIVE", 2)) == ("RESIDENT_EXISTS", "record.resident_code")


@pytest.mark.parametrize("status", ["ACTIVE", "MOVED_OUT", "DECEASED"])
def test_nobody_is_born_under_a_known_code(status: str) -> None:
    assert refusal_of(submission("ENTRY_BIRTH"), row(status, 2)) == ("RESIDENT_EXISTS", "resident_code")


@pytest.mark.parametrize("reason", ["DELETION_DEATH", "CORRECTION_MINOR"])
def test_who_is_not_here_is_neither_deleted_nor_corrected(reason: str) -> None:
    assert refusal_of(submission(reason), {})[0] == "RESIDENT_UNKNOWN"
    assert refusal_of(submission(reason), row("MOVED_ABROAD", 2))[0] == "RESIDENT_UNKNOWN"


@pytest.mark.parametrize("reason", ["ENTRY_EX_OFFICIO", "CORRECTION_MINOR", "DELETION_DEATH"])
def test_a_retired_code_takes_no_change(reason: str) -> None:
    assert refusal_of(submission(reason), row("RETIRED", 2)) == ("RESIDENT_CODE_RETIRED", "resident_code")


def test_the_dead_do_not_move_in_whatever_their_certificate_says() -> None:
    made = submission("ENTRY_DOMESTIC_MOVE_IN", previous_municipality=FAR, transfer_version=9)
    assert refusal_of(made, row("DECEASED", 2)) == ("TRANSFER_MISMATCH", "transfer_version")


def test_an_entry_without_a_record_is_refused() -> None:
    made = submission("ENTRY_EX_OFFICIO")
    made.ClearField("record")
    assert refusal_of(made, {}) == ("INVALID_MESSAGE", "record")


def test_a_reason_of_a_later_version_is_refused() -> None:
    made = submission("ENTRY_EX_OFFICIO")
    made.reason = change_pb2.ChangeReason.ValueType(77)
    assert refusal_of(made, {}) == ("CHANGE_UNKNOWN_TYPE", "reason")


def test_fields_are_checked_before_the_change_is_promised() -> None:
    made = submission("ENTRY_EX_OFFICIO")
    made.record.resident_code = made.resident_code = "24727059609"
    assert refusal_of(made, {}) == ("RESIDENT_CODE_CHECK_DIGIT", "record.resident_code")


def test_the_legal_spelling_of_a_name_passes_unchanged() -> None:
    # An ideographic variation sequence, a character outside the basic plane, a compatibility ideograph.
    legal = "辻\U000e0100𠮷﨑\u3000髙\U000e0101邉"
    made = submission("ENTRY_EX_OFFICIO")
    made.record.name.legal = legal
    change = completed(made, {})
    (written,) = apply(change, municipality=HERE, scope="", current={})
    assert change.record.name.legal == written.record.name.legal == legal


NAMES = ("legal", "furigana", "former_surname", "former_surname_furigana", "alias", "alias_furigana")
INVISIBLE = ["\u202e", "\u2066", "\u200b", "\ufeff", "\xad", "\x85", "\u2028", "\U000e0041"]


@pytest.mark.parametrize("character", INVISIBLE, ids=ascii)
@pytest.mark.parametrize(
    "field", [*(f"name.{each}" for each in NAMES), "address.town", "address.block", "address.building"]
)
def test_no_text_of_a_record_holds_what_nobody_sees(field: str, character: str) -> None:
    made, rows = lawful("ENTRY_EX_OFFICIO", (2028, 2, 1))
    part, text = field.split(".")
    setattr(getattr(made.record, part), text, f"試{character}験")
    assert refusal_of(made, rows) == ("INVISIBLE_CHARACTER", f"record.{field}")


@pytest.mark.parametrize(
    "character", ["\U000e0100", "\ufe00", "\ue000", "\U000f0000", "\U000323b0", "　", "´", "ﾞ"], ids=ascii
)
def test_selectors_private_and_new_characters_are_part_of_a_legal_spelling(character: str) -> None:
    made, rows = lawful("ENTRY_EX_OFFICIO", (2028, 2, 1))
    made.record.name.legal = f"齋{character}藤 桜"
    assert completed(made, rows).record.name.legal == made.record.name.legal


def test_everything_that_unicode_calls_a_control_or_a_mark_of_format_is_invisible() -> None:
    everything = map(chr, range(sys.maxunicode + 1))
    texts = [each for each in everything if unicodedata.category(each) in ("Cc", "Cf", "Zl", "Zp")]
    assert [each for each in texts if not field_with_invisible(identity_pb2.PersonName(alias=each))] == []


def test_a_record_that_was_accepted_before_can_be_deleted_and_corrected() -> None:
    rows = row("ACTIVE", 2)
    rows[CODE].record.name.legal = "齋\u202e藤 桜"
    made = submission("DELETION_DEATH")
    assert completed(made, rows).record.name.legal == "齋\u202e藤 桜"
    corrected = submission("CORRECTION_EX_OFFICIO")
    assert completed(corrected, rows).record.name.legal == "齋藤 桜"
