"""The yearly report in the forms in which it is published: JSON, CSV, and a page in Japanese and English."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import jinja2

from jukinet.ledger.yearly_report import PARTS, SMALLEST, YearlyReport

FORMAT = "jukinet-yearly-report/1"
_COLUMNS = ("kind", "receiver", "name_ja", "name_en", "month", "method", "reason", "number")

KINDS_JA = {
    "provided": "提供件数",
    "resident_code": "うち住民票コードを含むもの",
    "sealed": "うち本人への開示を期限まで留保するもの",
    "private_attempt": "民間からの照会（すべて拒否）",
    "refused": "拒否した照会",
    "no_single_match": "該当する者を特定できなかった照会",
    "not_provided": "市町村の通知が揃わず提供できなかった照会",
}
KINDS_EN = {
    "provided": "Records provided",
    "resident_code": "of these with the resident code",
    "sealed": "of these shown to the person only from a later day on",
    "private_attempt": "Questions of private organisations, all refused",
    "refused": "Questions refused",
    "no_single_match": "Questions that named no single person",
    "not_provided": "Questions without an answer because reports of a municipality were missing",
}
_METHODS = {"immediate": "即時提供 immediate", "batch": "一括提供 batch", "changes": "異動情報 changes"}


_NOT_YET = "—"
"""Of a month after the last entry of all ledgers: nobody knows, and 0 would be a claim."""


class Name(NamedTuple):
    """How an agency is called."""

    ja: str
    en: str


Names = Mapping[str, Name]
"""By SPIFFE ID; an agency without one is shown by its id."""


def as_json(report: YearlyReport, names: Names) -> str:
    """One JSON object, ending in a newline. A number of null is kept back: it, or what it would tell, is under ten."""
    content = {
        "format": FORMAT,
        "year": report.year,
        "from": report.first_day.isoformat(),
        "to": report.last_day.isoformat(),
        "smallest_number": SMALLEST,
        "ledgers": [asdict(source) for source in report.sources],
        "names": {agency: names[agency]._asdict() for agency in _receivers(report) if agency in names},
        "lines": [asdict(line) for line in report.lines],
    }
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def as_csv(report: YearlyReport, names: Names) -> str:
    """One row a number, with a header; an empty number is kept back. Line ends are those of RFC 4180."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _COLUMNS)
    writer.writeheader()
    for line in report.lines:
        name = names.get(line.receiver, Name("", ""))
        writer.writerow({**asdict(line), "name_ja": name.ja, "name_en": name.en})
    return text.getvalue()


def as_page(report: YearlyReport, names: Names) -> str:
    """A page that needs nothing from elsewhere."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jukinet.ledger"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("yearly_report.html")
    return template.render(report=report, tables=_tables(report, names), smallest=SMALLEST) + "\n"


def _receivers(report: YearlyReport) -> list[str]:
    return sorted({line.receiver for line in report.lines if line.receiver})


def _tables(report: YearlyReport, names: Names) -> list[dict[str, Any]]:
    """For each kind: its rows, each with a number a month and the sum of those that are published."""
    months = [f"{report.year + (month > 12)}-{(month - 1) % 12 + 1:02}" for month in range(4, 16)]
    covered = max((source.covered_to[:7] for source in report.sources), default="")
    begun = {month: 0 if month <= covered else _NOT_YET for month in months}
    tables = []
    for kind, japanese in KINDS_JA.items():
        rows: dict[tuple[str, ...], dict[str, Any]] = {}
        for line in report.lines:
            if line.kind == kind:
                row = rows.setdefault((line.receiver, line.method, line.reason), dict(begun))
                row[line.month] = line.number
        shown = [
            {
                "label": _label(key, names),
                "numbers": list(row.values()),
                "sum": _sum(row),
            }
            for key, row in rows.items()
        ]
        is_part = kind in PARTS
        tables.append({"ja": japanese, "en": KINDS_EN[kind], "months": months, "rows": shown, "is_part": is_part})
    return tables


def _sum(row: Mapping[str, Any]) -> int:
    return sum(number for number in row.values() if isinstance(number, int))


def _label(key: tuple[str, ...], names: Names) -> str:
    receiver, method, reason = key
    name = names.get(receiver)
    who = f"{name.ja} {name.en}" if name else receiver
    how = _METHODS.get(method, "")
    return " · ".join(part for part in (who, how, reason) if part) or "全体 all"
