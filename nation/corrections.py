"""Corrections (修正) of spelling, reading, codes and numbers, and the entries and deletions made ex officio (職権)."""

from datetime import date

from nation import foreign_names
from nation.moves import enter_new, return_person
from nation.people import Address, Presence
from nation.world import World


def _is_spelled_fully(address: Address) -> bool:
    return bool(address.building) or address.block.endswith("番地")


def minor_correction(world: World, today: date) -> int:
    """Write the address of a household in another way (軽微な修正); tell how many records change."""
    person = world.find(lambda p: 1.0 if _is_spelled_fully(p.household.address) else 0.0)
    if person is None:
        return 0
    home = person.household
    group = [p for p in home.members if p.presence is Presence.RECORDED]
    _, block, building = home.address
    if building.endswith("号室"):
        home.address = home.address._replace(building=building.removesuffix("号室"))
    elif building:
        home.address = home.address._replace(building=building + "号室")
    else:
        home.address = home.address._replace(block=block.removesuffix("地"))
    day = world.lately(today, 0, *group)
    for member in group:
        world.offices.record(member, "CORRECTION_MINOR", event_date=day, filed=today)
    return len(group)


def reading_correction(world: World, today: date) -> int:
    """Correct how a given name is read (振り仮名), ex officio."""
    person = world.find(lambda p: 1.0 if p.origin is None and world.names.other_readings(p.given, male=p.male) else 0.0)
    if person is None:
        return 0
    kana = world.rng.choice(world.names.other_readings(person.given, male=person.male))
    person.given = person.given._replace(kana=kana)
    world.offices.record(person, "CORRECTION_EX_OFFICIO", event_date=world.lately(today, 0, person), filed=today)
    return 1


def _change_code(world: World, today: date, reason: str) -> int:
    person = world.find(lambda p: 1.0)
    if person is None:
        return 0
    code = world.pool.draw_resident_code()
    world.offices.replace_code(person, code, reason, event_date=world.lately(today, 0, person), filed=today)
    return 1


def code_request(world: World, today: date) -> int:
    """Change a resident code because its holder asks for it (Act art. 30-4)."""
    return _change_code(world, today, "CORRECTION_RESIDENT_CODE_REQUEST")


def code_ex_officio(world: World, today: date) -> int:
    """Replace a wrong resident code (Order art. 30-4)."""
    return _change_code(world, today, "CORRECTION_RESIDENT_CODE_OTHER")


def _change_number(world: World, today: date, reason: str) -> int:
    person = world.find(lambda p: 1.0 if p.individual_number else 0.0)
    if person is None:
        return 0
    old, person.individual_number = person.individual_number, world.pool.draw_individual_number()
    day = world.lately(today, 0, person)
    world.offices.record(person, reason, event_date=day, filed=today, previous_individual_number=old)
    return 1


def number_request(world: World, today: date) -> int:
    """Change an individual number because its holder asks for it."""
    return _change_number(world, today, "CORRECTION_INDIVIDUAL_NUMBER_REQUEST")


def number_ex_officio(world: World, today: date) -> int:
    """Change an individual number that may be misused."""
    return _change_number(world, today, "CORRECTION_INDIVIDUAL_NUMBER_EX_OFFICIO")


def naturalization(world: World, today: date) -> int:
    """Let a foreign resident become Japanese: a deletion and an entry on the same day, under the same code."""
    person = world.find(lambda p: 0.0 if p.origin is None else 1.0)
    if person is None:
        return 0
    day = world.lately(today, 13, person)
    world.offices.delete(person, "DELETION_NATURALIZATION", event_date=day, filed=today)
    person.origin = person.alias = None
    person.surname = world.names.surname(world.rng)
    person.given = world.names.given(world.rng, male=person.male, born=person.born.year)
    world.offices.record(person, "ENTRY_NATURALIZATION", event_date=day, filed=today)
    return 1


def loss_of_nationality(world: World, today: date) -> int:
    """Let a resident take another nationality: a deletion and an entry on the same day, under the same code."""
    person = world.find(lambda p: 1.0 if p.origin is None and 20 <= p.age(today) < 70 else 0.0)
    if person is None:
        return 0
    day = world.lately(today, 13, person)
    world.offices.delete(person, "DELETION_LOSS_OF_NATIONALITY", event_date=day, filed=today)
    person.origin = foreign_names.draw_origin(world.rng)
    person.former_surname = person.maiden_name = None
    person.surname = foreign_names.draw_surname(world.rng, person.origin)
    person.given = foreign_names.draw_given(world.rng, person.origin, male=person.male)
    world.offices.record(person, "ENTRY_LOSS_OF_NATIONALITY", event_date=day, filed=today)
    return 1


def deletion_ex_officio(world: World, today: date) -> int:
    """Delete a person who is found not to live at the address any more."""
    person = world.find(lambda p: 1.0 if len(p.household.members) == 1 else 0.0)
    if person is None:
        return 0
    day = world.lately(today, 0, person)
    world.offices.delete(person, "DELETION_EX_OFFICIO", event_date=day, filed=today)
    person.presence = Presence.GONE
    world.lost.append(person)
    return 1


def entry_ex_officio(world: World, today: date) -> int:
    """Enter a person who is found without a record: one deleted before, or one never recorded."""
    if world.lost and world.rng.random() < 0.5:
        found = world.lost.pop(world.rng.randrange(len(world.lost)))
        return_person(world, today, found, "ENTRY_EX_OFFICIO")
        return 1
    home = world.settling(world.place(), today).household(largest=1, foreign_share=0.0)
    enter_new(world, today, home.members[0], "ENTRY_EX_OFFICIO", today)
    return 1
