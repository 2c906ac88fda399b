"""The articles narrow what their rows give, and a ground without a table opens nothing."""

from dataclasses import replace

from jukinet.purpose.articles import PROVISIONS
from jukinet.purpose.edition import load_statute
from jukinet.purpose.statute import Allowance
from tests.purpose.drafts import OWN, draft

TABLE = load_statute()


def test_each_table_is_opened_by_its_own_article() -> None:
    articles = {number: article.article for number, article in TABLE.articles.items()}
    assert articles == {1: "30-9", 2: "30-10", 3: "30-11", 4: "30-12", 5: "30-15(1)", 6: "30-15(2)"}
    assert all(row.article == articles[row.table] for row in TABLE.rows.values())


def test_the_articles_of_provision_are_all_there_with_their_certainty() -> None:
    named = {record["article"].split("(")[0] for record in OWN.articles}
    assert named == {"30-9", "30-9-2", *(f"30-{number}" for number in range(10, 16))}
    assert {record["certainty"] for record in OWN.articles} == {"verified"}
    assert {record["provisions_certainty"] for record in OWN.articles} == {"memory"}


def test_no_article_of_a_table_gives_the_resident_code() -> None:
    assert not any(article.resident_code for article in TABLE.articles.values())
    giving = {record["article"] for record in OWN.articles if record["resident_code"] == "yes"}
    assert giving == {"30-9-2", "30-10", "30-11", "30-12"}


def test_a_row_gives_what_both_it_and_its_article_give() -> None:
    assert TABLE.allowance(TABLE.rows["B1-77"]) == Allowance(True, False, PROVISIONS)
    narrowed = draft(
        rows={"B1-77": {"provisions": "immediate batch", "resident_code": "yes"}},
        articles={"1": {"individual_number": "no", "provisions": "batch changes"}},
    )
    assert narrowed.allowance(narrowed.rows["B1-77"]) == Allowance(False, False, frozenset({"batch"}))


def test_a_row_of_another_article_or_of_none_gives_nothing() -> None:
    nothing = Allowance(False, False, frozenset())
    row = TABLE.rows["B1-77"]
    assert TABLE.allowance(replace(row, article="30-10")) == nothing
    assert replace(TABLE, articles={}).allowance(row) == nothing
