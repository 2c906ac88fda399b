"""The yearly report in the forms in which it is published: JSON, CSV, and a page in Japanese and English."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, datetime
from typing import Any, NamedTuple

import jinja2

from jukinet.domain.calendar import day_in_japan, year_in_japan
from jukinet.ledger.reasons_ja import REASONS_JA
from jukinet.ledger.yearly_report import PARTS, SMALLEST, YearlyReport

FORMAT = "jukinet-yearly-report/1"
_COLUMNS = ("kind", "receiver", "name_ja", "name_en", "month", "method", "reason", "number")

KINDS_JA = {
    "provided": "提供件数",
    "resident_code": "うち住民票コードを含むもの",
    "sealed": "うち本人への開示を期限まで留保するもの",
    "private_attempt": "民間からの照会（すべて拒否）",
    "refused": "拒否した照会等（異動情報の登録、旧値の回収を含む）",
    "no_single_match": "該当する者を特定できなかった照会",
    "not_provided": "市町村の通知が揃わず提供できなかった照会",
}
KINDS_EN = {
    "provided": "Records provided",
    "resident_code": "of these with the resident code",
    "sealed": "of these shown to the person only from a later day on",
    "private_attempt": "Questions of private organisations, all refused",
    "refused": "What was refused: questions, lists of persons, recalls",
    "no_single_match": "Questions that named no single person",
    "not_provided": "Questions without an answer because reports of a municipality were missing",
}
_METHODS = {"immediate": "即時提供 immediate", "batch": "一括提供 batch", "changes": "異動情報 changes"}
_NOT_YET = "—"
"""Of a month that is not over: what came until now would tell, with a later report, what came in between."""


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
        "last_month": report.last_month,
        "smallest_number": SMALLEST,
        "ledgers": [asdict(source) for source in report.sources],
        "names": {agency: names[agency]._asdict() for agency in _receivers(report) if agency in names},
        "lines": [asdict(line) for line in report.lines],
    }
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def as_csv(report: YearlyReport, names: Names) -> str:
    """One row a number, with a header; an empty number is kept back. Line ends are those of RFC 4180.

    The first row is none of them: its kind is `last_month`, and its month the one up to which the report goes.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _COLUMNS)
    writer.writeheader()
    writer.writerow({"kind": "last_month", "month": report.last_month})
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
    environment.filters |= {
        "day": day_in_japan,
        "year": year_in_japan,
        "month": _month_in_japan,
        "time": _time_in_japan,
    }
    template = environment.get_template("yearly_report.html")
    return template.render(report=report, tables=_tables(report, names), smallest=SMALLEST) + "\n"


def _month_in_japan(month: str) -> str:
    """`2026-04` as `令和8年4月`."""
    first = date.fromisoformat(f"{month}-01")
    return f"{year_in_japan(first)}{first.month}月"


def _time_in_japan(moment: str) -> str:
    """A source's `covered_to` as `令和8年5月10日9時00分00秒`."""
    at = datetime.fromisoformat(moment)
    return f"{day_in_japan(at)}{at.hour}時{at:%M}分{at:%S}秒"


def _receivers(report: YearlyReport) -> list[str]:
    return sorted({line.receiver for line in report.lines if line.receiver})


def _tables(report: YearlyReport, names: Names) -> list[dict[str, Any]]:
    """For each kind: its rows, each with a number a month and the sum of those that are published."""
    months = [f"{report.year + (month > 12)}-{(month - 1) % 12 + 1:02}" for month in range(4, 16)]
    begun = {month: 0 if month <= report.last_month else _NOT_YET for month in months}
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
    why = f"{REASONS_JA.get(reason, '')} {reason}".strip()
    return " · ".join(part for part in (who, how, why) if part) or "全体 all"
