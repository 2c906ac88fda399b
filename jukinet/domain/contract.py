"""The contract's rules of a change, for the many that are plain: a quick answer to "does it break any?".

Rule: the contract is `change.proto` and `identity.proto`, and protovalidate alone decides what breaks it. `is_plain` is
true only of changes that break none of its rules, and says nothing of the others: whoever asks lets protovalidate
judge those. It takes a sixth of the time, and a register of millions is checked three times on its way.

A test holds it against protovalidate and against the rules as they stand in the protos: whoever changes one of them
there has to come here.
"""

import re

from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2

# Reasons that need nothing beside the record. A change that carries more is left to protovalidate.
_REASONS = frozenset(range(1, 21)) - {1, 7, 16, 17, 19}
_SEXES = frozenset({1, 2, 3})
_DAYS = (31, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
"""Of each month; of an unknown one the most."""
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_LARGEST = 2**63 - 1
_SHORTEST_LIMIT = 100
"""Characters that each text may have at least: what all of them have together is within it for nearly everybody."""


def is_plain(change: change_pb2.Change) -> bool:
    """Tell whether a change surely breaks no rule of the contract.

    Args:
        change: as it was parsed.

    Returns:
        True where it breaks none; False where protovalidate has to judge.
    """
    if not (change.HasField("event_date") and change.HasField("record")):
        return False
    event, record = change.event_date, change.record
    return (
        change.reason in _REASONS
        and 1 <= change.version <= _LARGEST
        and _exists(event.year, event.month, event.day)
        and not change.previous_individual_number
        and not change.previous_resident_code
        and not change.next_municipality
        and not change.previous_municipality
        and _is_plain_record(record)
    )


def _is_plain_record(record: identity_pb2.IdentityRecord) -> bool:
    if not (record.HasField("name") and record.HasField("birth_date") and record.HasField("address")):
        return False
    born = record.birth_date
    year, month, day = born.year, born.month, born.day
    return (
        record.sex in _SEXES
        and (_exists(year, month, day) or (day == 0 and _exists(year, month, 1)) or not (year or month or day))
        and _are_plain_numbers(record.resident_code, record.individual_number, record.address.local_government_code)
        and _are_plain_texts(record.name, record.address)
    )


def _are_plain_numbers(resident_code: str, individual_number: str, local_government_code: str) -> bool:
    digits = resident_code + individual_number + local_government_code
    return (
        len(resident_code) == 11
        and len(individual_number) in (0, 12)
        and len(local_government_code) == 6
        and digits.isascii()
        and digits.isdigit()
    )


def _are_plain_texts(name: identity_pb2.PersonName, address: identity_pb2.Address) -> bool:
    legal, town = name.legal, address.town
    texts = (
        legal
        + name.furigana
        + name.former_surname
        + name.former_surname_furigana
        + name.alias
        + name.alias_furigana
        + town
        + address.block
        + address.building
    )
    return bool(legal and town) and len(texts) <= _SHORTEST_LIMIT and not _CONTROL.search(texts)


def _exists(year: int, month: int, day: int) -> bool:
    """Whether a day is in the calendar, from 1868 on. February's 29th is left to protovalidate."""
    return 1868 <= year <= 9999 and 1 <= month <= 12 and 1 <= day <= _DAYS[month]
