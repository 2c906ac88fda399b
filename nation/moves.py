"""Moves: between municipalities (転出・転入), within one (転居), to and from abroad (国外転出・国外転入)."""

from collections.abc import Sequence
from datetime import date, timedelta
from functools import partial

from nation.people import Household, Person, Presence, Role
from nation.places import Municipality
from nation.rates import move_rate
from nation.world import World


def _group(world: World, mover: Person) -> list[Person]:
    """Those who move together: a grown child alone, else the whole household."""
    return [mover] if mover.role is Role.CHILD else list(mover.household.members)


def _complete(group: Sequence[Person]) -> bool:
    return all(person.presence is Presence.RECORDED for person in group)


def move_between(world: World, today: date) -> int:
    """Let a person or a household leave one municipality for another; tell how many people moved."""
    mover = world.find(lambda p: move_rate(p.age(today)))
    if mover is None or not _complete(group := _group(world, mover)):
        return 0
    origin = mover.household.municipality
    destination = world.destination(origin)
    target = destination or world.outside()
    if target is origin:
        return 0
    planned = today + timedelta(days=world.rng.randint(0, 10))
    home = world.move_out(group)
    for person in group:
        world.offices.delete(
            person, "DELETION_DOMESTIC_MOVE_OUT", event_date=planned, filed=today, next_municipality=target.code
        )
        person.presence = Presence.UNDER_WAY if destination else Presence.GONE
    if destination:
        arrived = planned + timedelta(days=world.rng.randint(0, 2))
        filed = arrived + timedelta(days=world.rng.randint(0, 13))
        world.plan(filed, partial(_arrive, world, home, destination, arrived=arrived))
    return len(group)


def _arrive(world: World, home: Household, at: Municipality, today: date, *, arrived: date) -> None:
    origin = home.municipality
    home.municipality, home.address = at, world.address(at, len(home.members))
    for person in home.members:
        world.offices.record(
            person,
            "ENTRY_DOMESTIC_MOVE_IN",
            event_date=arrived,
            filed=today,
            previous_municipality=origin.code,
            transfer_version=str(person.version),
        )
    world.welcome(home)


def move_within(world: World, today: date) -> int:
    """Let a person or a household move inside a municipality; tell how many people moved."""
    mover = world.find(lambda p: move_rate(p.age(today)))
    if mover is None or not _complete(group := _group(world, mover)):
        return 0
    relocate(world, today, group)
    return len(group)


def relocate(world: World, today: date, group: Sequence[Person]) -> None:
    """Give people a new address in the same municipality, together."""
    home = world.move_out(group)
    home.address = world.address(home.municipality, len(home.members))
    report_address(world, today, group)


def report_address(world: World, today: date, group: Sequence[Person]) -> None:
    """File the move within the municipality of people whose address has changed."""
    moved = world.lately(today, 13, *group)
    for person in group:
        world.offices.record(person, "CORRECTION_MOVE_WITHIN", event_date=moved, filed=today)


def leave_japan(world: World, today: date) -> int:
    """Let a person or a household move abroad: mostly foreign residents; tell how many people left."""
    leaver = world.find(lambda p: move_rate(p.age(today)) * (0.02 if p.origin is None else 1.0))
    if leaver is None or not _complete(group := _group(world, leaver)):
        return 0
    planned = today + timedelta(days=world.rng.randint(0, 10))
    world.move_out(group)
    for person in group:
        world.offices.delete(person, "DELETION_ABROAD_MOVE_OUT", event_date=planned, filed=today)
        person.presence = Presence.GONE
        world.abroad.append(person)
    return len(group)


def come_from_abroad(world: World, today: date) -> int:
    """Let somebody come from abroad: a person who once left comes back, or a household that is new to the network."""
    if world.abroad and world.rng.random() < 0.25:
        returning = world.abroad[world.rng.randrange(len(world.abroad))]
        if returning.last_event < today:
            world.abroad.remove(returning)
            return_person(world, today, returning, "ENTRY_ABROAD_MOVE_IN")
            return 1
    at = world.place()
    home = world.settling(at, today).household(largest=4, foreign_share=0.85)
    arrived = today - timedelta(days=world.rng.randint(0, 13))
    for person in home.members:
        arrived = max(arrived, person.born)
    for person in home.members:
        enter_new(world, today, person, "ENTRY_ABROAD_MOVE_IN", arrived)
    return len(home.members)


def return_person(world: World, today: date, person: Person, reason: str) -> None:
    """Enter a person again under the code last held (Act art. 30-3 para. 1), mostly where it was held."""
    last = person.household.municipality
    at = last if world.rng.random() < 0.7 else world.place()
    if person in person.household.members and len(person.household.members) > 1:
        person.leave_household()
    person.household = Household(at, world.address(at, 1), [person])
    person.role = Role.HEAD
    # Its own register knows the version; another municipality's needs to be told.
    told = {} if at is last else {"transfer_version": str(person.version)}
    world.offices.record(person, reason, event_date=world.lately(today, 13, person), filed=today, **told)
    person.presence = Presence.RECORDED
    world.add(person)


def enter_new(world: World, today: date, person: Person, reason: str, event_date: date) -> None:
    """Enter a person who was never in a register; the individual number follows some days later."""
    number, person.individual_number = person.individual_number, ""
    world.offices.record(person, reason, event_date=event_date, filed=today)
    world.add(person)
    assign_later(world, today, person, number)


def assign_later(world: World, today: date, person: Person, number: str) -> None:
    """Enter the individual number when it has been generated; later where the person is just moving."""

    def assign(on: date) -> None:
        if person.presence is Presence.RECORDED:
            person.individual_number = number
            world.offices.record(person, "CORRECTION_INDIVIDUAL_NUMBER_OTHER", event_date=on, filed=on)
        elif person.presence is Presence.UNDER_WAY:
            assign_later(world, on, person, number)

    world.plan(today + timedelta(days=world.rng.randint(3, 10)), assign)
