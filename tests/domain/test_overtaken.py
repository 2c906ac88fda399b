"""What a prefecture takes of a change that a later one of the same person overtook, and what it still refuses.

Of a person's life the prefecture of Tokyo sees what Chiyoda, Chuo and Minato seal; what Yokohama and Osaka seal it does
not. Each case is what has arrived, in the order of arrival; then one change that comes late.
"""

import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.domain.apply import apply
from jukinet.domain.arrival import Arrival
from jukinet.domain.change import reason_named
from jukinet.domain.overtaken import apply_overtaken
from jukinet.domain.refusal import ChangeRefused
from jukinet.domain.resident_code import generate

CHIYODA, CHUO, MINATO, YOKOHAMA, OSAKA = "131016", "131024", "131032", "141003", "271004"
CODE, CODE2, CODE3 = (generate(digit.zfill, prefix="00") for digit in "123")
RETIRED = identity_pb2.RESIDENT_STATUS_RETIRED

Rows = dict[str, identity_pb2.Resident]


def sealed(reason: str, at: str, version: int, *, code: str = CODE, sequence: int = 0, **fields: str) -> Arrival:
    """A change as the municipality `at` seals it; its sequence number follows its version unless given."""
    change = change_pb2.Change(
        reason=reason_named(reason).reason,
        event_date=identity_pb2.CalendarDate(year=2026, month=4, day=1),
        record=identity_pb2.IdentityRecord(
            resident_code=code,
            name=identity_pb2.PersonName(legal="渡邉 一"),
            birth_date=identity_pb2.BirthDate(year=2026, month=4, day=1),
            sex=identity_pb2.SEX_MALE,
            address=identity_pb2.Address(local_government_code=at, town=fields.pop("town", "一番町")),
        ),
        version=version,
        protected=False,
        was_wrong=False,
        **fields,
    )
    return Arrival(at, 1, sequence or version, change, b"")


def birth(at: str, *, code: str = CODE) -> Arrival:
    return sealed("ENTRY_BIRTH", at, 1, code=code)


def move_out(at: str, to: str, version: int, *, code: str = CODE) -> Arrival:
    return sealed("DELETION_DOMESTIC_MOVE_OUT", at, version, code=code, next_municipality=to)


def move_in(at: str, out_of: str, version: int, *, code: str = CODE, sequence: int = 0) -> Arrival:
    entry = "ENTRY_DOMESTIC_MOVE_IN"
    return sealed(entry, at, version, code=code, sequence=sequence, previous_municipality=out_of)


def recode(at: str, version: int, *, old: str = CODE, new: str = CODE2) -> Arrival:
    return sealed("CORRECTION_RESIDENT_CODE_REQUEST", at, version, code=new, previous_resident_code=old)


def abroad(at: str, version: int) -> Arrival:
    return sealed("DELETION_ABROAD_MOVE_OUT", at, version)


def from_abroad(at: str, version: int) -> Arrival:
    return sealed("ENTRY_ABROAD_MOVE_IN", at, version)


class Node:
    """Rows and history of a node."""

    def __init__(self, scope: str, *arrived: Arrival) -> None:
        self.scope = scope
        self.rows: Rows = {}
        self.history: list[Arrival] = []
        for arrival in arrived:
            self.take(arrival)

    def take(self, arrival: Arrival) -> tuple[identity_pb2.Resident, ...]:
        change = arrival.change
        code = change.record.resident_code
        if code in self.rows and change.version < self.rows[code].version:
            kept = [each for each in self.history if each.change.record.resident_code == code]
            written = apply_overtaken(arrival, scope=self.scope, current=self.rows, kept=kept)
        else:
            written = apply(change, municipality=arrival.municipality, scope=self.scope, current=self.rows)
        self.rows.update({row.record.resident_code: row for row in written})
        self.history.append(arrival)
        return written

    def frozen(self) -> dict[str, bytes]:
        return {code: row.SerializeToString(deterministic=True) for code, row in self.rows.items()}


STAY = [birth(CHIYODA), move_out(CHIYODA, OSAKA, 2)]
BACK = move_in(CHUO, OSAKA, 6)
AGAIN = [BACK, move_out(CHUO, YOKOHAMA, 7), move_in(MINATO, YOKOHAMA, 11)]

OVERTAKEN: list[tuple[str, list[Arrival], list[Arrival]]] = [
    ("a stay before years in another prefecture", [BACK], STAY),
    (
        "a stay with a correction",
        [BACK],
        [
            birth(CHIYODA),
            sealed("CORRECTION_MOVE_WITHIN", CHIYODA, 2, town="二番町"),
            sealed("DELETION_DOMESTIC_MOVE_OUT", CHIYODA, 3, town="二番町", next_municipality=OSAKA),
        ],
    ),
    ("a stay before years abroad, within the prefecture", [from_abroad(CHUO, 3)], [birth(CHIYODA), abroad(CHIYODA, 2)]),
    (
        "a stay before an entry ex officio, within the prefecture",
        [sealed("ENTRY_EX_OFFICIO", CHUO, 3)],
        [birth(CHIYODA), sealed("DELETION_EX_OFFICIO", CHIYODA, 2)],
    ),
    ("a stay between two that are known", [*STAY, AGAIN[2]], AGAIN[:2]),
    ("the first of three stays", AGAIN, STAY),
    (
        "a stay with a move within the prefecture",
        [move_in(MINATO, OSAKA, 8)],
        [birth(CHIYODA), move_out(CHIYODA, CHUO, 2), move_in(CHUO, CHIYODA, 3), move_out(CHUO, OSAKA, 4)],
    ),
    ("a stay before one at the end of which the person died", [BACK, sealed("DELETION_DEATH", CHUO, 7)], STAY),
    ("a stay under a code that was changed since", [BACK, recode(CHUO, 7)], STAY),
    (
        "a change of the code, and the rest of that stay",
        [move_in(CHUO, OSAKA, 6, code=CODE2)],
        [birth(CHIYODA), recode(CHIYODA, 2), move_out(CHIYODA, OSAKA, 3, code=CODE2)],
    ),
    (
        "a change to a code that was changed since",
        [move_in(CHUO, OSAKA, 6, code=CODE2), recode(CHUO, 7, old=CODE2, new=CODE3)],
        [birth(CHIYODA), recode(CHIYODA, 2), move_out(CHIYODA, OSAKA, 3, code=CODE2)],
    ),
]


@pytest.mark.parametrize(("arrived", "late"), [case[1:] for case in OVERTAKEN], ids=[case[0] for case in OVERTAKEN])
def test_what_was_overtaken_is_taken_and_ends_as_if_it_had_come_in_its_order(
    arrived: list[Arrival], late: list[Arrival]
) -> None:
    prefecture = Node("13", *arrived)
    newest = max(prefecture.rows.values(), key=lambda row: row.version)
    for arrival in late:
        prefecture.take(arrival)
    assert prefecture.rows[newest.record.resident_code] == newest
    in_order = Node("13", *sorted([*arrived, *late], key=lambda arrival: arrival.change.version))
    assert prefecture.frozen() == in_order.frozen()


def test_an_overtaken_change_of_the_code_retires_the_old_one() -> None:
    prefecture = Node("13", move_in(CHUO, OSAKA, 6, code=CODE2), birth(CHIYODA))
    (old,) = prefecture.take(recode(CHIYODA, 2))
    assert (old.record.resident_code, old.status, old.version) == (CODE, RETIRED, 2)
    assert old.successor_code == CODE2


W, MISMATCH, CONFLICT = "WAITING_FOR_EARLIER_CHANGE", "TRANSFER_MISMATCH", "VERSION_CONFLICT"
EXISTS, UNKNOWN, FOREIGN = "RESIDENT_EXISTS", "RESIDENT_UNKNOWN", "NOT_HOLDER"
NOT_COVERED = "CHANGE_NOT_COVERED"
SECOND_CODE = [move_in(CHUO, OSAKA, 6, code=CODE2), birth(CHIYODA)]

# What has arrived, what comes late, and why it does not come into the history.
REFUSED: list[tuple[str, list[Arrival], Arrival, str]] = [
    # Who did not hold the person at that version.
    ("correct another's late stay", [BACK, STAY[0]], sealed("CORRECTION_MINOR", MINATO, 2), FOREIGN),
    ("declare dead in another's late stay", [BACK, STAY[0]], sealed("DELETION_DEATH", MINATO, 2), FOREIGN),
    ("move out in another's late stay", [BACK, STAY[0]], move_out(MINATO, OSAKA, 2), FOREIGN),
    ("enter in another's late stay", [BACK, STAY[0]], sealed("ENTRY_EX_OFFICIO", MINATO, 2), EXISTS),
    ("change the code in another's late stay", [*SECOND_CODE], recode(MINATO, 2), FOREIGN),
    (
        "move in by a ticket for another",
        [BACK, birth(CHIYODA), move_out(CHIYODA, OSAKA, 2)],
        move_in(MINATO, CHIYODA, 3),
        MISMATCH,
    ),
    ("correct after the move-out", [BACK, *STAY], sealed("CORRECTION_MINOR", CHIYODA, 3), UNKNOWN),
    # A version is given once.
    ("the same version by another", [BACK, *STAY], sealed("ENTRY_EX_OFFICIO", MINATO, 1), CONFLICT),
    ("the same version by the same", [BACK, *STAY], sealed("CORRECTION_MINOR", CHIYODA, 2, sequence=3), FOREIGN),
    ("the present version by another", [BACK], sealed("ENTRY_EX_OFFICIO", MINATO, 6), CONFLICT),
    # What followed must follow from it.
    ("be there when the next one came", [BACK], sealed("ENTRY_EX_OFFICIO", CHIYODA, 5), MISMATCH),
    (
        "move out otherwise than the move-in says",
        [*STAY, BACK, move_in(CHIYODA, OSAKA, 4)],
        move_out(CHIYODA, CHUO, 5),
        MISMATCH,
    ),
    ("die before the next one came", [from_abroad(CHUO, 3), STAY[0]], sealed("DELETION_DEATH", CHIYODA, 2), FOREIGN),
    # A stay that was all known, or that is known to begin.
    ("get in before a birth", [birth(CHIYODA)], sealed("ENTRY_EX_OFFICIO", CHUO, 1), CONFLICT),
    ("get in before a change of the code", [birth(CHIYODA), recode(CHIYODA, 2)], birth(CHUO, code=CODE2), CONFLICT),
    (
        "change to the code of one who had it before",
        [
            birth(CHUO, code=CODE2),
            move_out(CHUO, OSAKA, 2, code=CODE2),
            move_in(CHUO, OSAKA, 5, code=CODE2),
            from_abroad(CHIYODA, 2),
        ],
        recode(CHIYODA, 3),
        EXISTS,
    ),
    # The municipality's own later change came before in its stream.
    ("enter what one entered later already", [BACK], sealed("ENTRY_EX_OFFICIO", CHUO, 1, sequence=7), EXISTS),
    # What waits for others within the gap.
    ("move in before the move-out", [BACK], move_in(MINATO, CHIYODA, 3), W),
    ("correct before the entry", [BACK], sealed("CORRECTION_MINOR", CHIYODA, 2), W),
    # The rules of one change hold for a late one too.
    ("delete with another record", [BACK, STAY[0]], sealed("DELETION_DEATH", CHIYODA, 2, town="二番町"), NOT_COVERED),
]


@pytest.mark.parametrize(
    ("arrived", "late", "answer"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_a_late_change_that_has_no_place_in_the_history_is_refused(
    arrived: list[Arrival], late: Arrival, answer: str
) -> None:
    prefecture = Node("13", *arrived)
    before = prefecture.frozen()
    with pytest.raises(ChangeRefused) as refused:
        prefecture.take(late)
    assert errors_pb2.ErrorReason.Name(refused.value.reason) == f"ERROR_REASON_{answer}"
    assert prefecture.frozen() == before


@pytest.mark.parametrize("scope", ["", CHIYODA])
def test_where_the_whole_chain_is_seen_nothing_can_be_overtaken(scope: str) -> None:
    """Were there a gap all the same, nothing may be written into it."""
    rows = {CODE: apply(BACK.change, municipality=CHUO, scope="13", current={})[0]}
    with pytest.raises(ChangeRefused) as refused:
        apply_overtaken(STAY[0], scope=scope, current=rows, kept=[BACK])
    assert refused.value.reason == errors_pb2.ERROR_REASON_VERSION_CONFLICT
