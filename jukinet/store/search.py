"""Finding the one person that a question means (本人確認情報検索).

Rule: an answer needs exactly one match over all four items; none and several look the same, and no search by fewer
items exists: a name or an address of which the search key leaves nothing finds nobody. Only persons who are residents
on the day of the question are found: someone who reported a move-out for a later day still is one. Of a municipality
whose first snapshot is half in nobody is found. Who is protected (支援措置) is found by nobody, but counts as a match
beside a namesake: left out before the count, one of two would be taken for the other.

Rule 2: why nobody is found takes no time of its own. Each question looks for who matches and then fetches, checks and
reads one record: that of the one who matches, or else one drawn by lot, which is thrown away. What is done for one
outcome alone, a clock can tell from the others.
"""

import logging
from collections.abc import Mapping
from datetime import date
from random import random

from sqlalchemy import Connection, and_, bindparam, literal_column, or_, select

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import FourItems
from jukinet._pb.jukinet.register.v1.identity_pb2 import (
    RESIDENT_STATUS_ACTIVE,
    RESIDENT_STATUS_MOVED_ABROAD,
    RESIDENT_STATUS_MOVED_OUT,
    Resident,
)
from jukinet.domain.address import search_key as address_key
from jukinet.domain.person_name import search_key as name_key
from jukinet.domain.protection import is_protected
from jukinet.store.checksum import RecordDamaged, is_sound
from jukinet.store.schema import residents
from jukinet.store.snapshots import is_provided
from jukinet.store.statement import Prepared

log = logging.getLogger(__name__)


def by_four_items(connection: Connection, items: FourItems, *, day: date) -> Resident | None:
    """The one resident who matches 氏名, 生年月日, 男女の別 and 住所; None for none or several.

    氏名 matches as the name, as 通称, or with 旧氏 in the place of the family name (Order art. 30-14, 30-16).

    `day` is the day of the question in Japan.
    """
    name, address = name_key(items.name), address_key(items.address)
    if not name or address.endswith("/"):
        return None
    born = items.birth_date
    values: dict[str, str | int] = {
        "name": name,
        "birth": f"{born.year:04}-{born.month:02}-{born.day:02}",
        "sex": items.sex,
        "address": address,
        "day": day.isoformat(),
    }
    return _only_one(connection, _BY_FOUR_ITEMS, values)


def by_individual_number(connection: Connection, number: str, *, day: date) -> Resident | None:
    """The one resident with this 個人番号; None for none or several. `number` has twelve digits."""
    return _only_one(connection, _BY_NUMBER, {"number": number, "day": day.isoformat()})


def _only_one(connection: Connection, query: Prepared, values: Mapping[str, str | int]) -> Resident | None:
    found = query.rows(connection, values)
    anybody = f"{int(random() * _CODES):011}"  # noqa: S311  # which record is read in vain is no secret
    record = _RECORD.row(connection, {"code": found[0][0] if len(found) == 1 else anybody})
    if record is None:
        return None
    message, checksum, provided = record
    sound = is_sound(message, checksum)
    resident = Resident.FromString(message) if sound else Resident()
    if len(found) != 1 or not provided or is_protected(resident):
        return None
    if not sound:
        log.critical("a stored record is damaged and was not provided; `admin drift` names it")
        raise RecordDamaged
    return resident


_CODES = 10**11
"""One more than the highest resident code."""
_MATCHING = (
    select(residents.c.resident_code)
    .where(
        or_(
            residents.c.status == RESIDENT_STATUS_ACTIVE,
            and_(
                or_(
                    residents.c.status == RESIDENT_STATUS_MOVED_OUT, residents.c.status == RESIDENT_STATUS_MOVED_ABROAD
                ),
                residents.c.effective_date > bindparam("day"),
            ),
        )
    )
    .limit(2)
)
# The record of this code or, as good as any other, the one before it.
_RECORD = Prepared(
    select(residents.c.resident, residents.c.checksum, is_provided(residents.c.holder))
    .where(residents.c.resident_code <= bindparam("code"))
    .order_by(residents.c.resident_code.desc())
    .limit(1)
)
_BY_FOUR_ITEMS = Prepared(
    _MATCHING.where(
        or_(
            residents.c.name_key == bindparam("name"),
            and_(residents.c.alias_key == bindparam("name"), residents.c.alias_key != literal_column("''")),
            residents.c.former_name_key == bindparam("name"),
        ),
        residents.c.birth_date == bindparam("birth"),
        residents.c.sex == bindparam("sex"),
        residents.c.address_key == bindparam("address"),
    )
)
_BY_NUMBER = Prepared(_MATCHING.where(residents.c.individual_number == bindparam("number")))
