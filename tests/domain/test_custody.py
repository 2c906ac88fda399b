"""Nobody speaks for another: forged and mistaken situations, judged at the CS, at the prefecture and at the center.

Each case is a lawful history, then one change that must not pass. The CS is the forger's own, which sees only what its
municipality did; so some lines have UNSEEN there: the CS cannot know better, and the node above refuses.
"""

from collections.abc import Callable

import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.domain.apply import apply
from jukinet.domain.change import reason_named
from jukinet.domain.refusal import ChangeRefused

CHIYODA, CHUO, MINATO, YOKOHAMA, OSAKA = "131016", "131024", "131032", "141003", "271004"
CODE, CODE2, CODE3 = "24727059608", "24846016224", "25208017643"
NUMBER, NUMBER2 = "379474484458", "454972364860"
UNSEEN = "UNSEEN"

Sealed = tuple[str, change_pb2.Change]
Rows = dict[str, identity_pb2.Resident]


def sealed(reason: str, at: str, version: int, *, code: str = CODE, town: str = "一番町", **fields: str) -> Sealed:
    """A change as the municipality `at` seals it."""
    return at, change_pb2.Change(
        reason=reason_named(reason).reason,
        event_date=identity_pb2.CalendarDate(year=2026, month=4, day=1),
        record=identity_pb2.IdentityRecord(
            resident_code=code,
            name=identity_pb2.PersonName(legal="渡邉 一"),
            birth_date=identity_pb2.BirthDate(year=2026, month=4, day=1),
            sex=identity_pb2.SEX_MALE,
            address=identity_pb2.Address(local_government_code=fields.pop("address", at), town=town),
            individual_number=fields.pop("number", NUMBER),
        ),
        version=version,
        protected=False,
        was_wrong=False,
        **fields,
    )


def move_out(at: str, to: str, version: int, *, held_in: str = "") -> Sealed:
    return sealed("DELETION_DOMESTIC_MOVE_OUT", at, version, next_municipality=to, address=held_in or at)


def move_in(at: str, out_of: str, version: int) -> Sealed:
    return sealed("ENTRY_DOMESTIC_MOVE_IN", at, version, previous_municipality=out_of)


def rows_after(history: list[Sealed], scope: str) -> Rows:
    """What a node of that scope holds after a history."""
    rows: Rows = {}
    for municipality, change in history:
        if municipality.startswith(scope):
            written = apply(change, municipality=municipality, scope=scope, current=rows)
            rows.update({row.record.resident_code: row for row in written})
    return rows


BORN = [sealed("ENTRY_BIRTH", CHIYODA, 1)]
LEAVING = [*BORN, move_out(CHIYODA, CHUO, 2)]
LEAVING_FAR = [*BORN, move_out(CHIYODA, YOKOHAMA, 2)]
MOVED = [*LEAVING, move_in(CHUO, CHIYODA, 3)]
DELETED = [*BORN, sealed("DELETION_EX_OFFICIO", CHIYODA, 2)]
DEAD = [*BORN, sealed("DELETION_DEATH", CHIYODA, 2)]
ABROAD = [*BORN, sealed("DELETION_ABROAD_MOVE_OUT", CHIYODA, 2)]
RECODED = [*BORN, sealed("CORRECTION_RESIDENT_CODE_REQUEST", CHIYODA, 2, code=CODE2, previous_resident_code=CODE)]
NEIGHBOUR = [*BORN, sealed("ENTRY_BIRTH", CHUO, 1, code=CODE3)]

W, MISMATCH, CONFLICT = "WAITING_FOR_EARLIER_CHANGE", "TRANSFER_MISMATCH", "VERSION_CONFLICT"
EXISTS, UNKNOWN, FOREIGN, RETIRED = "RESIDENT_EXISTS", "RESIDENT_UNKNOWN", "NOT_HOLDER", "RESIDENT_CODE_RETIRED"
NOT_COVERED = "CHANGE_NOT_COVERED"


def recode(at: str, new: str, old: str, version: int) -> Sealed:
    return sealed("CORRECTION_RESIDENT_CODE_OTHER", at, version, code=new, previous_resident_code=old)


def mended(at: str, version: int) -> Sealed:
    return altered(sealed("ENTRY_EX_OFFICIO", at, version), lambda change: setattr(change, "was_wrong", True))


def altered(forged: Sealed, alter: Callable[[change_pb2.Change], object]) -> Sealed:
    alter(forged[1])
    return forged


# What is tried, after which history, by which change, and the answer of CS, prefecture and center.
FORGED: list[tuple[str, list[Sealed], Sealed, tuple[str, str, str]]] = [
    # A resident of another municipality.
    ("correct a foreign resident", BORN, sealed("CORRECTION_MOVE_WITHIN", CHUO, 2), (UNKNOWN, FOREIGN, FOREIGN)),
    ("declare a foreign resident dead", BORN, sealed("DELETION_DEATH", CHUO, 2), (UNKNOWN, FOREIGN, FOREIGN)),
    ("delete a foreign resident", BORN, sealed("DELETION_EX_OFFICIO", CHUO, 2), (UNKNOWN, FOREIGN, FOREIGN)),
    ("move a foreign resident to oneself", BORN, move_out(CHUO, OSAKA, 2), (UNKNOWN, FOREIGN, FOREIGN)),
    ("move a foreign resident abroad", BORN, sealed("DELETION_ABROAD_MOVE_OUT", CHUO, 2), (UNKNOWN, FOREIGN, FOREIGN)),
    ("change a foreign resident's code", BORN, recode(CHUO, CODE2, CODE, 2), (UNKNOWN, FOREIGN, FOREIGN)),
    (
        "change a foreign resident's number",
        BORN,
        sealed("CORRECTION_INDIVIDUAL_NUMBER_OTHER", CHUO, 2, number=NUMBER2, previous_individual_number=NUMBER),
        (UNKNOWN, FOREIGN, FOREIGN),
    ),
    ("correct with a version long past", BORN, sealed("CORRECTION_MINOR", CHUO, 1), (UNKNOWN, FOREIGN, FOREIGN)),
    ("correct from another prefecture", BORN, sealed("CORRECTION_MINOR", YOKOHAMA, 2), (UNKNOWN, W, FOREIGN)),
    ("declare dead from another prefecture", BORN, sealed("DELETION_DEATH", YOKOHAMA, 2), (UNKNOWN, W, FOREIGN)),
    ("claim a version ahead of the holder's", BORN, sealed("CORRECTION_MINOR", CHUO, 9), (UNKNOWN, W, W)),
    # Entry over an active record.
    ("enter an active resident by birth", BORN, sealed("ENTRY_BIRTH", CHUO, 1), (UNSEEN, CONFLICT, CONFLICT)),
    ("enter an active resident anew", BORN, sealed("ENTRY_ABROAD_MOVE_IN", CHUO, 1), (UNSEEN, CONFLICT, CONFLICT)),
    ("enter an active resident next", BORN, sealed("ENTRY_EX_OFFICIO", CHUO, 2), (UNSEEN, EXISTS, EXISTS)),
    ("naturalise a foreign resident", BORN, sealed("ENTRY_NATURALIZATION", CHUO, 2), (UNSEEN, EXISTS, EXISTS)),
    ("move in without a move-out", BORN, move_in(CHUO, CHIYODA, 2), (UNSEEN, MISMATCH, MISMATCH)),
    ("move in before the move-out", BORN, move_in(CHUO, CHIYODA, 3), (UNSEEN, W, W)),
    ("enter one's own resident again", BORN, sealed("ENTRY_BIRTH", CHIYODA, 1), (EXISTS, EXISTS, EXISTS)),
    ("enter one's own resident next", BORN, sealed("ENTRY_EX_OFFICIO", CHIYODA, 2), (EXISTS, EXISTS, EXISTS)),
    ("enter one's own resident ahead", BORN, sealed("ENTRY_EX_OFFICIO", CHIYODA, 9), (EXISTS, W, W)),
    # An error (誤記の修正): each municipality says it of its own record.
    ("call another's record an error", DELETED, mended(CHUO, 3), (W, FOREIGN, FOREIGN)),
    ("call another's error from elsewhere", DELETED, mended(YOKOHAMA, 3), (W, W, FOREIGN)),
    ("call an error what was never there", [], mended(CHUO, 1), (UNKNOWN, UNKNOWN, UNKNOWN)),
    ("call an error what another deletes later", DELETED, mended(CHUO, 4), (W, W, W)),
    # Versions of the holder.
    ("repeat a version", BORN, sealed("CORRECTION_MOVE_WITHIN", CHIYODA, 1), (CONFLICT, CONFLICT, CONFLICT)),
    ("leave a version out", BORN, sealed("CORRECTION_MOVE_WITHIN", CHIYODA, 3), (W, W, W)),
    # After a move-out: the ticket names who is next.
    ("correct after the move-out", LEAVING, sealed("CORRECTION_MINOR", CHIYODA, 3), (UNKNOWN, UNKNOWN, UNKNOWN)),
    ("die after the move-out, at the old place", LEAVING, sealed("DELETION_DEATH", CHIYODA, 3), (UNKNOWN,) * 3),
    ("move out twice", LEAVING, move_out(CHIYODA, YOKOHAMA, 3), (UNKNOWN, UNKNOWN, UNKNOWN)),
    ("change the code after the move-out", LEAVING, recode(CHIYODA, CODE2, CODE, 3), (UNKNOWN,) * 3),
    ("correct before the move-in", LEAVING, sealed("CORRECTION_MINOR", CHUO, 3), (UNKNOWN, FOREIGN, FOREIGN)),
    ("transfer to another prefecture than named", LEAVING, move_in(YOKOHAMA, CHIYODA, 3), (UNSEEN, UNSEEN, MISMATCH)),
    ("transfer to another than named", LEAVING_FAR, move_in(CHUO, CHIYODA, 3), (UNSEEN, MISMATCH, MISMATCH)),
    ("transfer out of another than the holder", LEAVING, move_in(CHUO, OSAKA, 3), (UNSEEN, MISMATCH, MISMATCH)),
    ("enter by another way than the move", LEAVING, sealed("ENTRY_EX_OFFICIO", CHUO, 3), (UNSEEN, MISMATCH, MISMATCH)),
    ("take the leaving one back by a move-in", LEAVING, move_in(CHIYODA, OSAKA, 3), (MISMATCH,) * 3),
    ("take the leaving one back from abroad", LEAVING, sealed("ENTRY_ABROAD_MOVE_IN", CHIYODA, 3), (MISMATCH,) * 3),
    ("take the leaving one back by birth", LEAVING, sealed("ENTRY_BIRTH", CHIYODA, 1), (CONFLICT,) * 3),
    ("use the ticket ahead of its version", LEAVING, move_in(CHUO, CHIYODA, 5), (UNSEEN, W, W)),
    ("come back round a move within the prefecture", LEAVING, move_in(MINATO, YOKOHAMA, 7), (UNSEEN, W, W)),
    ("use the ticket behind its version", LEAVING, move_in(CHUO, CHIYODA, 2), (UNSEEN, CONFLICT, CONFLICT)),
    # After the move-in: the ticket is used.
    ("use a ticket twice", MOVED, move_in(CHUO, CHIYODA, 3), (EXISTS, EXISTS, EXISTS)),
    ("use another's ticket after it was used", MOVED, move_in(YOKOHAMA, CHIYODA, 3), (UNSEEN, UNSEEN, CONFLICT)),
    ("make a ticket up", MOVED, move_in(YOKOHAMA, CHIYODA, 4), (UNSEEN, UNSEEN, MISMATCH)),
    ("stale holder corrects, next version", MOVED, sealed("CORRECTION_MINOR", CHIYODA, 4), (W, FOREIGN, FOREIGN)),
    ("stale holder corrects, own next", MOVED, sealed("CORRECTION_MINOR", CHIYODA, 3), (UNKNOWN, FOREIGN, FOREIGN)),
    ("stale holder declares dead", MOVED, sealed("DELETION_DEATH", CHIYODA, 4), (W, FOREIGN, FOREIGN)),
    ("stale holder cancels the move", MOVED, sealed("ENTRY_EX_OFFICIO", CHIYODA, 3), (UNSEEN, CONFLICT, CONFLICT)),
    # After death.
    ("raise another's dead", DEAD, sealed("ENTRY_EX_OFFICIO", CHUO, 3), (UNSEEN, FOREIGN, FOREIGN)),
    ("let the dead come from abroad", DEAD, sealed("ENTRY_ABROAD_MOVE_IN", CHIYODA, 3), (NOT_COVERED,) * 3),
    ("correct the dead", DEAD, sealed("CORRECTION_MINOR", CHIYODA, 3), (UNKNOWN, UNKNOWN, UNKNOWN)),
    ("let the dead die", DEAD, sealed("DELETION_DEATH", CHIYODA, 3), (UNKNOWN, UNKNOWN, UNKNOWN)),
    ("raise the dead at a later version", DEAD, sealed("ENTRY_EX_OFFICIO", CHIYODA, 9), (W, W, W)),
    # After a move abroad.
    ("move in from where nobody moved out", ABROAD, move_in(CHUO, CHIYODA, 3), (UNSEEN, MISMATCH, MISMATCH)),
    ("come back with a used version", ABROAD, sealed("ENTRY_ABROAD_MOVE_IN", CHIYODA, 2), (CONFLICT,) * 3),
    ("correct one who is abroad", ABROAD, sealed("CORRECTION_MINOR", CHIYODA, 3), (UNKNOWN, UNKNOWN, UNKNOWN)),
    # Retired and taken codes.
    ("enter a retired code", RECODED, sealed("ENTRY_EX_OFFICIO", CHIYODA, 3), (RETIRED, RETIRED, RETIRED)),
    ("enter a retired code elsewhere", RECODED, sealed("ENTRY_ABROAD_MOVE_IN", CHUO, 3), (UNSEEN, RETIRED, RETIRED)),
    ("correct a retired code", RECODED, sealed("CORRECTION_MINOR", CHIYODA, 3), (RETIRED, RETIRED, RETIRED)),
    ("change a retired code once more", RECODED, recode(CHIYODA, CODE3, CODE, 3), (RETIRED, RETIRED, RETIRED)),
    ("change back to a retired code", RECODED, recode(CHIYODA, CODE, CODE2, 3), (RETIRED, RETIRED, RETIRED)),
    ("change to another person's code", NEIGHBOUR, recode(CHIYODA, CODE3, CODE, 2), (UNSEEN, EXISTS, EXISTS)),
    ("change to a code and leave a version out", BORN, recode(CHIYODA, CODE2, CODE, 3), (W, W, W)),
    # Unknown persons.
    ("correct nobody", [], sealed("CORRECTION_MINOR", CHIYODA, 1), (UNKNOWN, UNKNOWN, UNKNOWN)),
    ("delete nobody at a later version", [], sealed("DELETION_DEATH", CHIYODA, 4), (UNKNOWN, W, W)),
    ("move in within the prefecture, unknown", [], move_in(CHUO, CHIYODA, 3), (UNSEEN, W, W)),
    ("be born late", [], sealed("ENTRY_BIRTH", CHIYODA, 2), (CONFLICT, CONFLICT, CONFLICT)),
    # Fields.
    ("enter an address elsewhere", [], sealed("ENTRY_BIRTH", CHIYODA, 1, address=CHUO), ("ADDRESS_ELSEWHERE",) * 3),
    (
        "correct to an address elsewhere",
        BORN,
        sealed("CORRECTION_EX_OFFICIO", CHIYODA, 2, address=OSAKA),
        ("ADDRESS_ELSEWHERE",) * 3,
    ),
    ("delete with another record", BORN, sealed("DELETION_DEATH", CHIYODA, 2, town="二番町"), (NOT_COVERED,) * 3),
    ("delete with an address elsewhere", BORN, sealed("DELETION_DEATH", CHIYODA, 2, address=OSAKA), (NOT_COVERED,) * 3),
    ("move out to oneself", BORN, move_out(CHIYODA, CHIYODA, 2), (MISMATCH,) * 3),
    ("move in out of oneself", BORN, move_in(CHUO, CHUO, 2), (MISMATCH,) * 3),
    ("move out to a prefecture", BORN, move_out(CHIYODA, "140007", 2), ("LOCAL_GOVERNMENT_CODE",) * 3),
    (
        "live in no municipality",
        [],
        sealed("ENTRY_BIRTH", CHIYODA, 1, address="131017"),
        ("LOCAL_GOVERNMENT_CODE",) * 3,
    ),
    ("mistype the code", [], sealed("ENTRY_BIRTH", CHIYODA, 1, code="24727059609"), ("RESIDENT_CODE_CHECK_DIGIT",) * 3),
    ("mistype the old code", BORN, recode(CHIYODA, CODE2, "24727059609", 2), ("RESIDENT_CODE_CHECK_DIGIT",) * 3),
    (
        "mistype the number",
        [],
        sealed("ENTRY_BIRTH", CHIYODA, 1, number="379474484459"),
        ("INDIVIDUAL_NUMBER_CHECK_DIGIT",) * 3,
    ),
    (
        "name a false previous number",
        BORN,
        sealed("CORRECTION_INDIVIDUAL_NUMBER_OTHER", CHIYODA, 2, number=NUMBER2, previous_individual_number=NUMBER2),
        ("PREVIOUS_VALUE",) * 3,
    ),
    (
        "be born before the day of birth",
        [],
        altered(sealed("ENTRY_BIRTH", CHIYODA, 1), lambda change: setattr(change.record.birth_date, "day", 2)),
        ("BIRTH_DATE",) * 3,
    ),
    (
        "give a reason that the law does not have",
        BORN,
        altered(sealed("CORRECTION_MINOR", CHIYODA, 2), lambda change: setattr(change, "reason", 99)),
        ("CHANGE_UNKNOWN_TYPE",) * 3,
    ),
]


@pytest.mark.parametrize("tier", ["cs", "prefecture", "center"])
@pytest.mark.parametrize(
    ("history", "forged", "answers"), [case[1:] for case in FORGED], ids=[case[0] for case in FORGED]
)
def test_a_forged_change_is_refused_and_changes_no_row(
    history: list[Sealed], forged: Sealed, answers: tuple[str, str, str], tier: str
) -> None:
    municipality, change = forged
    scope, answer = {
        "cs": (municipality, answers[0]),
        "prefecture": (municipality[:2], answers[1]),
        "center": ("", answers[2]),
    }[tier]
    rows = rows_after(history, scope)
    before = {code: row.SerializeToString(deterministic=True) for code, row in rows.items()}
    if answer == UNSEEN:
        assert apply(change, municipality=municipality, scope=scope, current=rows)
    else:
        with pytest.raises(ChangeRefused) as refused:
            apply(change, municipality=municipality, scope=scope, current=rows)
        assert errors_pb2.ErrorReason.Name(refused.value.reason) == f"ERROR_REASON_{answer}"
    assert {code: row.SerializeToString(deterministic=True) for code, row in rows.items()} == before


def test_the_center_sees_all_that_a_cs_cannot() -> None:
    assert not [name for name, _, _, answers in FORGED if answers[2] == UNSEEN]
    assert len(FORGED) >= 40


@pytest.mark.parametrize("scope", [CHUO, "14", "27"])
def test_a_node_applies_nothing_of_a_municipality_that_it_does_not_serve(scope: str) -> None:
    municipality, change = BORN[0]
    with pytest.raises(ChangeRefused) as refused:
        apply(change, municipality=municipality, scope=scope, current={})
    assert refused.value.reason == errors_pb2.ERROR_REASON_OTHER_MUNICIPALITY


LAWFUL: list[tuple[str, list[Sealed]]] = [
    ("a move between two prefectures", [*LEAVING_FAR, move_in(YOKOHAMA, CHIYODA, 3)]),
    ("a move and back", [*MOVED, move_out(CHUO, CHIYODA, 4), move_in(CHIYODA, CHUO, 5)]),
    (
        "a move to another prefecture and back to a third municipality",
        [
            *LEAVING_FAR,
            move_in(YOKOHAMA, CHIYODA, 3),
            move_out(YOKOHAMA, CHUO, 4),
            move_in(CHUO, YOKOHAMA, 5),
            sealed("CORRECTION_MOVE_WITHIN", CHUO, 6, town="佃"),
        ],
    ),
    ("a move that is cancelled", [*LEAVING, sealed("ENTRY_EX_OFFICIO", CHIYODA, 3), move_out(CHIYODA, OSAKA, 4)]),
    ("a death that was an error", [*DEAD, sealed("ENTRY_EX_OFFICIO", CHIYODA, 3)]),
    ("a return from abroad to the same place", [*ABROAD, sealed("ENTRY_ABROAD_MOVE_IN", CHIYODA, 3)]),
    ("a return from abroad to another prefecture", [*ABROAD, sealed("ENTRY_ABROAD_MOVE_IN", OSAKA, 3)]),
    (
        "years abroad and elsewhere, then back",
        [
            *ABROAD,
            sealed("ENTRY_ABROAD_MOVE_IN", OSAKA, 3),
            sealed("DELETION_ABROAD_MOVE_OUT", OSAKA, 4),
            sealed("ENTRY_ABROAD_MOVE_IN", CHIYODA, 5),
        ],
    ),
    (
        "a naturalisation",
        [*BORN, sealed("DELETION_NATURALIZATION", CHIYODA, 2), sealed("ENTRY_NATURALIZATION", CHIYODA, 3)],
    ),
    (
        "a loss of nationality",
        [*BORN, sealed("DELETION_LOSS_OF_NATIONALITY", CHIYODA, 2), sealed("ENTRY_LOSS_OF_NATIONALITY", CHIYODA, 3)],
    ),
    ("a deletion in error", [*BORN, sealed("DELETION_EX_OFFICIO", CHIYODA, 2), sealed("ENTRY_EX_OFFICIO", CHIYODA, 3)]),
    (
        "a changed code",
        [*RECODED, sealed("DELETION_DEATH", CHIYODA, 3, code=CODE2)],
    ),
]


@pytest.mark.parametrize(("history"), [case[1] for case in LAWFUL], ids=[case[0] for case in LAWFUL])
def test_a_lawful_life_passes_at_every_tier_and_ends_alike(history: list[Sealed]) -> None:
    last_municipality, last = history[-1]
    code = last.record.resident_code
    ends = {
        scope: rows_after(history, scope)[code].SerializeToString(deterministic=True)
        for scope in (last_municipality, last_municipality[:2], "")
    }
    assert len(set(ends.values())) == 1
