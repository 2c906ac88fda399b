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
from collections.abc import Mapping, Sequence
from datetime import date
from random import random

from sqlalchemy import Connection, and_, bindparam, literal_column, or_, select

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import Subject
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
from jukinet.store.statement import Prepared, Row

log = logging.getLogger(__name__)


Found = Resident | RecordDamaged | None


def find(connection: Connection, subjects: Sequence[Subject], *, day: date) -> list[Found]:
    """For each question the one resident whom it means; None for none or several.

    By 個人番号, or by 氏名, 生年月日, 男女の別 and 住所. 氏名 matches as the name, as 通称, or with 旧氏 in the place
    of the family name (Order art. 30-14, 30-16).

    Args:
        subjects: who is asked about.
        day: of the questions, in Japan.

    Returns: in their order; RecordDamaged where the record of the one who matches is.
    """
    # All go through each step together: one that comes again at once takes half the time.
    values = [_values(subject, day.isoformat()) for subject in subjects]
    by_number = iter(_BY_NUMBER.rows_of_each(connection, [each for each in values if "number" in each]))
    by_items = iter(_BY_FOUR_ITEMS.rows_of_each(connection, [each for each in values if "name" in each]))
    matching = [next(by_number if "number" in each else by_items) if each else [] for each in values]
    codes = [found[0][0] if len(found) == 1 else _anybody() for found in matching]
    records = _RECORD.rows_of_each(connection, [{"code": code} for code in codes])
    return [_told(record, alone=len(found) == 1) for found, record in zip(matching, records, strict=True)]


def _values(subject: Subject, day: str) -> Mapping[str, str | int]:
    """What to ask with; nothing where the search key leaves nothing of a name or an address."""
    if subject.HasField("individual_number"):
        return {"number": subject.individual_number, "day": day}
    items = subject.four_items
    name, address = name_key(items.name), address_key(items.address)
    if not name or address.endswith("/"):
        return {}
    born = items.birth_date
    return {
        "name": name,
        "birth": f"{born.year:04}-{born.month:02}-{born.day:02}",
        "sex": items.sex,
        "address": address,
        "day": day,
    }


def _anybody() -> str:
    """The code of a resident, or one that only stands before one."""
    return f"{int(random() * _CODES):011}"  # noqa: S311  # which record is read in vain is no secret


def _told(records: Sequence[Row], *, alone: bool) -> Found:
    """Who is told; `alone` says whether the record is that of the only one who matches."""
    if not records:
        return None
    message, checksum, provided = records[0]
    sound = is_sound(message, checksum)
    resident = Resident.FromString(message) if sound else Resident()
    if not alone or not provided or is_protected(resident):
        return None
    if not sound:
        log.critical("a stored record is damaged and was not provided; `admin drift` names it")
        return RecordDamaged()
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
