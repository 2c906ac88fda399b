"""Who is protected (支援措置) stays so at the center through every change, until the holder of the record ends it."""

import datetime
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet._pb.jukinet.intake.v1 import intake_pb2
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.domain.apply import apply
from jukinet.domain.arrival import Arrival
from jukinet.domain.change import reason_named
from jukinet.domain.protection import is_protected
from jukinet.domain.refusal import ChangeRefused
from jukinet.domain.resident_code import generate
from jukinet.domain.set_aside import Gone, apply_past_gap
from jukinet.domain.submission import complete
from jukinet.mesh.errors import Refused, check_message
from jukinet.store.rows import as_its_holder_left_it

CHIYODA, OSAKA = "131016", "271004"
CODES = [generate(digit.zfill, prefix="00") for digit in "123456789"]
TODAY = datetime.date(2026, 4, 10)
Rows = dict[str, identity_pb2.Resident]


@dataclass
class World:
    """The registers of two municipalities and of the center, and the one person in them."""

    registers: dict[str, Rows] = field(default_factory=lambda: {CHIYODA: {}, OSAKA: {}})
    center: Rows = field(default_factory=dict)
    holder: str = CHIYODA
    code: str = CODES[0]
    version: int = 0
    block: int = 0
    sealed: list[tuple[str, change_pb2.Change]] = field(default_factory=list)

    def file(self, reason: str, **fields: object) -> None:
        """What a municipal system states goes through its CS and to the center."""
        made = intake_pb2.Submission(
            message_id=f"m-{len(self.sealed)}",
            reason=reason_named(reason).reason,
            event_date=identity_pb2.CalendarDate(year=2026, month=4, day=1),
            resident_code=self.code,
            **fields,  # type: ignore[arg-type]
        )
        if not reason.startswith(("DELETION", "PROTECTION")):
            made.record.CopyFrom(self.record())
        check_message(made)
        register = self.registers[self.holder]
        change = complete(made, municipality=self.holder, today=TODAY, current=register)
        check_message(change)
        for rows, scope in ((register, self.holder), (self.center, "")):
            for row in apply(change, municipality=self.holder, scope=scope, current=rows):
                rows[row.record.resident_code] = row
        self.version = change.version
        self.sealed.append((self.holder, change))

    def record(self) -> identity_pb2.IdentityRecord:
        return identity_pb2.IdentityRecord(
            resident_code=self.code,
            name=identity_pb2.PersonName(legal="試験 花子"),
            birth_date=identity_pb2.BirthDate(year=1980, month=1, day=2),
            sex=identity_pb2.SEX_FEMALE,
            address=identity_pb2.Address(local_government_code=self.holder, town="本町", block=f"{self.block}番"),
        )

    def move(self, *, protected: bool = False) -> None:
        there = OSAKA if self.holder == CHIYODA else CHIYODA
        left = self.holder
        self.file("DELETION_DOMESTIC_MOVE_OUT", next_municipality=there)
        self.holder = there
        self.file(
            "ENTRY_DOMESTIC_MOVE_IN", previous_municipality=left, transfer_version=self.version, protected=protected
        )

    def correct(self) -> None:
        self.block += 1
        self.file("CORRECTION_MOVE_WITHIN")

    def recode(self) -> None:
        old, self.code = self.code, CODES[(CODES.index(self.code) + 1)]
        self.file("CORRECTION_RESIDENT_CODE_REQUEST", previous_resident_code=old)

    def reenter(self) -> None:
        self.file("DELETION_EX_OFFICIO")
        self.file("ENTRY_EX_OFFICIO")

    @property
    def kept_back(self) -> bool:
        return is_protected(self.center[self.code])


def protected() -> World:
    world = World()
    world.file("ENTRY_EX_OFFICIO")
    world.file("PROTECTION_BEGIN")
    assert world.kept_back
    return world


@pytest.mark.parametrize("act", ["correct", "recode", "reenter"])
def test_a_later_change_ends_no_protection(act: str) -> None:
    world = protected()
    getattr(world, act)()
    assert world.kept_back
    world.file("PROTECTION_END")
    assert not world.kept_back


def test_a_code_that_was_replaced_stays_protected_too() -> None:
    world = protected()
    world.recode()
    assert is_protected(world.center[CODES[0]])


def test_who_moves_out_stays_protected_at_the_old_address_and_at_the_new_one() -> None:
    world = protected()
    world.file("DELETION_DOMESTIC_MOVE_OUT", next_municipality=OSAKA)
    assert world.kept_back
    world.holder = OSAKA
    world.file("ENTRY_DOMESTIC_MOVE_IN", previous_municipality=CHIYODA, transfer_version=world.version)
    assert world.kept_back  # though Osaka knows nothing of it
    assert not is_protected(world.registers[OSAKA][world.code])
    world.correct()
    assert world.kept_back
    world.file("PROTECTION_BEGIN")
    assert world.kept_back
    world.file("PROTECTION_END")
    assert not world.kept_back


def test_the_municipality_of_the_move_in_ends_a_protection_that_it_did_not_begin() -> None:
    world = protected()
    world.move()
    world.file("PROTECTION_END")
    assert not world.kept_back


def test_an_entry_may_protect_from_the_first_moment_on() -> None:
    world = World()
    world.file("ENTRY_EX_OFFICIO", protected=True)
    assert world.kept_back
    world.correct()
    assert world.kept_back


def test_nobody_but_the_holder_of_a_record_in_force_protects_or_ends() -> None:
    world = protected()
    entered, begun = (change for _, change in world.sealed)
    for reason in (21, 22):
        change = change_pb2.Change()
        change.CopyFrom(begun)
        change.reason, change.version, change.protected = reason, 3, reason == 21  # type: ignore[assignment]
        change.record.address.local_government_code = OSAKA
        with pytest.raises(ChangeRefused, match="hold"):
            apply(change, municipality=OSAKA, scope="", current=world.center)
    world.file("DELETION_DEATH")
    for act in ("PROTECTION_BEGIN", "PROTECTION_END"):
        with pytest.raises(ChangeRefused):
            world.file(act)
    assert not entered.protected


@pytest.mark.parametrize(("reason", "stated"), [(21, False), (22, True)])
def test_no_change_says_at_once_that_a_protection_begins_and_that_there_is_none(reason: int, stated: bool) -> None:
    change = change_pb2.Change()
    change.CopyFrom(protected().sealed[1][1])
    change.reason, change.protected = reason, stated  # type: ignore[assignment]
    with pytest.raises(Refused):
        check_message(change)


@pytest.mark.parametrize("reason", ["CORRECTION_MINOR", "DELETION_DEATH", "PROTECTION_BEGIN", "PROTECTION_END"])
def test_only_an_entry_may_state_a_protection_beside_itself(reason: str) -> None:
    with pytest.raises(Refused):
        protected().file(reason, protected=True)


def test_a_change_that_forgets_the_protection_ends_nothing() -> None:
    """Such as one of a CS that was restored from before it."""
    world = protected()
    world.correct()
    change = world.sealed[-1][1]
    change.protected, change.version = False, 4
    change.record.address.block = "9番"
    (row,) = apply(change, municipality=CHIYODA, scope="", current=world.center)
    assert is_protected(row)


def test_a_protection_is_not_lost_because_a_correction_before_it_was_set_aside() -> None:
    world = World()
    world.file("ENTRY_EX_OFFICIO")
    before = dict(world.center)
    world.correct()
    world.file("PROTECTION_BEGIN")
    arrival = Arrival(CHIYODA, 1, 3, world.sealed[-1][1], b"")
    gone = [Gone(CHIYODA, (1, 2), 2)]
    (row,) = apply_past_gap(arrival, scope="", current=before, gone=gone, since=(1, 1))
    assert (row.protected, row.version, row.record) == (True, 3, before[world.code].record)


ACTS = st.sampled_from(
    ["correct", "recode", "reenter", "move", "move protected", "PROTECTION_BEGIN", "PROTECTION_END", "other"]
)


@given(st.lists(ACTS, max_size=8))
def test_over_any_life_the_center_keeps_back_whom_somebody_protected_and_no_holder_released(acts: list[str]) -> None:
    world, kept_back = World(), False
    world.file("ENTRY_EX_OFFICIO")
    for act in acts:
        match act:
            case "PROTECTION_BEGIN" | "PROTECTION_END":
                world.file(act)
                kept_back = act == "PROTECTION_BEGIN"
            case "move" | "move protected":
                world.move(protected=act != "move")
                # A municipality to which the person returns, and that never ended its own protection, has it still.
                kept_back = kept_back or act != "move" or world.sealed[-1][1].protected
            case "correct" | "recode" | "reenter":
                getattr(world, act)()
        assert world.kept_back == kept_back
        # What the consistency check compares is the same at both ends.
        row = world.center[world.code].SerializeToString()
        assert as_its_holder_left_it(row) == world.registers[world.holder][world.code].SerializeToString()
