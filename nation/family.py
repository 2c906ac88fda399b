"""Births (出生), deaths (死亡), marriages (婚姻) and divorces (離婚)."""

from datetime import date

from nation import foreign_names
from nation.moves import enter_new, relocate, report_address
from nation.people import Household, Person, Presence, Role
from nation.rates import birth_rate, death_rate
from nation.world import World

_HIGHEST_DEATH_RATE = 0.42


def birth(world: World, today: date) -> int:
    """Let a couple have a child, reported within 14 days."""
    mother = world.find(lambda p: 0.0 if p.male or not p.has_partner() else birth_rate(p.age(today)))
    if mother is None:
        return 0
    home = mother.household
    born = world.lately(today, 13, *home.couple())
    male = world.rng.random() < 0.513
    parent = next((p for p in home.couple() if p.origin is None), home.couple()[0])
    if parent.origin is None:
        given = world.names.given(world.rng, male=male, born=born.year)
    else:
        given = foreign_names.draw_given(world.rng, parent.origin, male=male)
    child = Person(
        surname=parent.surname,
        given=given,
        male=male,
        born=born,
        role=Role.CHILD,
        household=home,
        resident_code=world.pool.draw_resident_code(),
        individual_number=world.pool.draw_individual_number(),
        last_event=born,
        origin=parent.origin,
    )
    home.members.append(child)
    enter_new(world, today, child, "ENTRY_BIRTH", born)
    return 1


def death(world: World, today: date) -> int:
    """Let a person die, mostly an old one, reported within seven days."""
    dying = world.find(lambda p: death_rate(p.age(today)) / _HIGHEST_DEATH_RATE)
    if dying is None:
        return 0
    world.offices.delete(dying, "DELETION_DEATH", event_date=world.lately(today, 6, dying), filed=today)
    dying.presence = Presence.GONE
    dying.leave_household()
    return 1


def marriage(world: World, today: date) -> int:
    """Let two people marry: one, mostly the wife, takes the other's surname, and they live together from then on."""

    def single(person: Person) -> bool:
        return person.lives_free() and not person.has_partner() and 20 <= person.age(today) < 50

    groom = world.find(lambda p: 1.0 if p.male and single(p) else 0.0)
    if groom is None:
        return 0
    here, age = groom.household, groom.age(today)
    bride = world.find(
        lambda p: 1.0 if not p.male and single(p) and p.household is not here and abs(p.age(today) - age) <= 8 else 0.0,
        groom.household.municipality,
    )
    if bride is None:
        return 0
    wed = world.lately(today, 3, groom, bride)
    taker, giver = (bride, groom) if world.rng.random() < 0.95 else (groom, bride)
    if groom.origin is None and bride.origin is None and taker.surname != giver.surname:
        taker.maiden_name = taker.surname
        taker.former_surname = taker.surname if world.rng.random() < 0.05 else None
        taker.surname = giver.surname
        world.offices.record(taker, "CORRECTION_EX_OFFICIO", event_date=wed, filed=today)
    _move_together(world, today, groom, bride)
    return 1


def _move_together(world: World, today: date, groom: Person, bride: Person) -> None:
    """The bride moves in with a groom who lives alone; otherwise both take a new home."""
    alone = len(groom.household.members) == 1
    bride.leave_household()
    if not alone:
        at = groom.household.municipality
        groom.leave_household()
        groom.household = Household(at, world.address(at, 2), [groom])
    groom.role, bride.role = Role.HEAD, Role.SPOUSE
    bride.household = groom.household
    groom.household.members.append(bride)
    report_address(world, today, [bride] if alone else [groom, bride])


def divorce(world: World, today: date) -> int:
    """Let a couple part: who changed surname takes the old one back, unless there are children to take along."""
    leaver = world.find(lambda p: 1.0 if p.has_partner() and p.origin is None and p.age(today) < 70 else 0.0)
    if leaver is None:
        return 0
    couple = leaver.household.couple()
    leaver = next((p for p in couple if p.maiden_name), leaver)
    if any(p.presence is not Presence.RECORDED for p in leaver.household.members):
        return 0
    children = leaver.household.minors(today)
    if leaver.maiden_name and not children and leaver.maiden_name != leaver.surname:
        leaver.surname, leaver.maiden_name, leaver.former_surname = leaver.maiden_name, None, None
        day = world.lately(today, 3, leaver)
        world.offices.record(leaver, "CORRECTION_EX_OFFICIO", event_date=day, filed=today)
    relocate(world, today, [leaver, *children])
    leaver.role = Role.HEAD
    return 1
