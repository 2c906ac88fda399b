"""The articles that open the network (提供の根拠条文): who provides to whom, and what, Act art. 30-9 to 30-15.

Rule: an article only narrows. What a row of its table says of codes and methods of provision holds as far as its
article allows it, and no further. A ground without a table (an ordinance, consent, resident record affairs) stands in
the file because the list is closed (art. 30-25), and opens nothing here: no row can name it.

`receiver` of an article with a table must be the one that the program knows for that table (`receivers`): whose
residents are told of follows from the table, and another receiver would be told of somebody else's. Its number and
`provider` must be those of the Act, which `statute_check` sees to before an edition is proposed.

`individual_number` is `number-act-9` where the article gives it as far as the Number Use Act (番号利用法) art. 9(1)
lets the receiver use it, `no` where it gives none, `unstated` where no source was found, which counts as none.
`provisions` are the methods of provision: `immediate` (即時提供), `batch` (一括提供), `changes` (異動情報). The Order
(art. 30-8 to 30-12) knows transmission and disks only; the three are names of practice, hence their certainty.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, get_args

from jukinet.purpose.receivers import RECEIVERS

Provision = Literal["immediate", "batch", "changes"]
"""Method of provision (提供の方法): one person at once, a file of many, later changes of registered persons."""

PROVISIONS: Final[frozenset[str]] = frozenset(get_args(Provision))
COLUMNS: Final = (
    *("article", "ground", "provider", "receiver", "table", "resident_code", "individual_number", "provisions"),
    *("certainty", "provisions_certainty"),
)
_TRUTH: Final = {"yes": True, "no": False}
_GIVES_NUMBER: Final = {"number-act-9": True, "no": False, "unstated": False}
_PROVIDERS: Final = frozenset({"center", "prefecture", "municipality"})
CERTAINTIES: Final = frozenset({"verified", "secondary", "memory", "derived"})
"""How well a fact of an edition is known."""


class ArticlesError(ValueError):
    """The articles of an edition contradict themselves. Correct the line that the text names."""


@dataclass(frozen=True, slots=True)
class Article:
    """What one article opens for one annexed table (別表)."""

    article: str
    provider: str
    table: int
    resident_code: bool
    individual_number: bool
    """Whether a row may give it, where the Number Use Act art. 9(1) lets the receiver use it."""
    provisions: frozenset[str]


Articles = Mapping[int, Article]
"""The article of each annexed table, by its number 1 to 6."""


def build_articles(records: Iterable[Mapping[str, str]]) -> Articles:
    """Builds the articles from the records of `articles.csv`.

    Args:
        records: one mapping of column to text a line.

    Returns:
        The articles that open a table; those of other grounds are checked and left out.

    Raises:
        ArticlesError: a line is malformed, or two speak of one table.

    Source: Act art. 30-9 to 30-15.
    """
    found: dict[int, Article] = {}
    for record in records:
        article = _article(record)
        if article.table in found:
            raise ArticlesError(f"two articles open table {article.table}")
        if article.table:
            found[article.table] = article
        elif article.provisions:
            raise ArticlesError(f"article {article.article} ({record['ground']}) opens no table and yet a provision")
    return MappingProxyType(found)


def read_provisions(text: str) -> frozenset[str]:
    """Reads methods of provision, separated by spaces. Raises ValueError for one that does not exist."""
    named = frozenset(text.split())
    if unknown := named - PROVISIONS:
        raise ValueError(f"no method of provision is called {', '.join(sorted(unknown))}")
    return named


def _article(record: Mapping[str, str]) -> Article:
    where = f"article {record['article']} ({record['ground']})"
    try:
        table = int(record["table"] or 0)
        if table not in range(7):
            raise ValueError(f"there is no table {table}")
        for column, known in (
            ("provider", _PROVIDERS),
            ("certainty", CERTAINTIES),
            ("provisions_certainty", CERTAINTIES),
        ):
            if record[column] not in known:
                raise ValueError(f"{column} must be one of {', '.join(sorted(known))}")
        if table and record["receiver"] != RECEIVERS[table].name:
            raise ValueError(f"table {table} is for {RECEIVERS[table].name}, not for {record['receiver']}")
        return Article(
            article=record["article"],
            provider=record["provider"],
            table=table,
            resident_code=_TRUTH[record["resident_code"]],
            individual_number=_GIVES_NUMBER[record["individual_number"]],
            provisions=read_provisions(record["provisions"]),
        )
    except (KeyError, ValueError) as error:
        raise ArticlesError(f"{where} is malformed: {error}") from error
