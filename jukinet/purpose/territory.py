"""Whose residents a row of the tables speaks of (提供の対象となる住民).

Rule: tables 2 to 6 open the network to local bodies for residents of certain prefectures only. A person outside is not
found, exactly as if there were no such person: the asker must not learn that someone lives elsewhere.

- Table 1 (national bodies): everyone.
- Table 2 (municipalities of the prefecture that notified), tables 5 and 6 (a prefecture's own use): residents of the
  agency's own prefecture.
- Table 3 (other prefectures), table 4 (municipalities of other prefectures): residents of any other prefecture.

A local body without a prefecture in the directory is told nothing.

Source: Act art. 30-9, 30-10, 30-11, 30-12, 30-15.
"""

from jukinet.domain.local_government import prefecture_of
from jukinet.purpose.agencies import Agency
from jukinet.purpose.statute import StatuteRow

_EVERYONE = frozenset({1})
_OWN = frozenset({2, 5, 6})
_OTHERS = frozenset({3, 4})


def covers_anybody(row: StatuteRow, agency: Agency) -> bool:
    """Whether the directory says enough of an agency for this row to tell it of anybody."""
    return row.table in _EVERYONE or bool(agency.prefecture)


def covers(row: StatuteRow, agency: Agency, holder: str) -> bool:
    """Whether this row lets this agency hear of residents of this municipality.

    Args:
        row: of the statute table.
        agency: who asks.
        holder: 全国地方公共団体コード, six digits, of the municipality that holds the record; of a later change, that
            sealed it.
    """
    if row.table in _EVERYONE:
        return True
    if not covers_anybody(row, agency):
        return False
    own = prefecture_of(holder) == prefecture_of(agency.prefecture)
    return own if row.table in _OWN else row.table in _OTHERS and not own
