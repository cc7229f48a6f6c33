"""Groups are found by words, however many there are, and by what they say of themselves now."""

import uuid
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from modelyard.clock import utc_now
from modelyard.database import Database
from modelyard.feature_groups import searching, versions
from modelyard.feature_groups.definition import Definition
from modelyard.feature_groups.records import FeatureGroup, FeatureGroupWord, WordSpelling
from modelyard.feature_groups.searching import Among, search
from modelyard.feature_groups.words import add_words, group_words, shortened, spellings_of
from modelyard.ids import Digest, FeatureGroupId, OrganizationId
from modelyard.storage import Table, TableColumn, TablePart

OURS = OrganizationId("ours")


class Shelf:
    """Groups of one organisation, and what is found among them."""

    def __init__(self, session: Session, organization_id: OrganizationId = OURS) -> None:
        self.session, self.organization_id = session, organization_id

    def put(self, name: str, *columns: str, description: str | None = None) -> FeatureGroup:
        now, definition = utc_now(), Definition()
        group = FeatureGroup(
            feature_group_id=FeatureGroupId(uuid.uuid4().hex), organization_id=self.organization_id, table_name=name,
            source_type="SQL", description=description, definition=versions.to_json(definition),
            definition_digest=definition.digest, use_gpu=False, use_original_csv_names=False, version_limit=30,
            last_version_number=0, created_at=now, updated_at=now,
        )  # fmt: skip
        self.session.add(group)
        self.session.flush()
        if columns:
            self.complete(group, *columns)
        return group

    def complete(self, group: FeatureGroup, *columns: str) -> None:
        kinds = tuple(TableColumn(column, "int64", True) for column in columns)
        table = Table((TablePart(Digest("0" * 64), 1, 1),), kinds, 1, 1)
        versions.write_version_from_table(self.session, group, table)

    def find(self, text: str, limit: int = 10, **among: object) -> list[str]:
        found = search(self.session, self.organization_id, text, limit, Among(**among))  # type: ignore[arg-type]
        return [each.feature_group.table_name for each in found]

    def scores(self, text: str) -> dict[str, float]:
        found = search(self.session, self.organization_id, text, 10, Among())
        return {each.feature_group.table_name: each.score for each in found}


@pytest.fixture
def shelf(database: Database) -> Iterator[Shelf]:
    with database.write() as session:
        yield Shelf(session)


def test_a_name_counts_more_than_a_column_and_a_column_more_than_a_description(shelf: Shelf) -> None:
    shelf.put("customers", description="who left")
    shelf.put("churn_scores")
    shelf.put("people", "churn", "age")
    shelf.put("notes", description="All about churn.")
    assert shelf.find("churn") == ["churn_scores", "people", "notes"]
    assert shelf.find("who churn") == ["churn_scores", "people", "customers", "notes"]
    assert shelf.scores("Customers ")["customers"] == 1.0


def test_beginnings_and_one_wrong_letter_are_forgiven(shelf: Shelf) -> None:
    shelf.put("warehouse_stock_12345")
    asked = ["warehouse", "warehose", "warehoouse", "warehpuse", "waerhouse", "ware", "WAREHOUSE", "stck", "12345"]
    assert {text: shelf.find(text) for text in asked} == {text: ["warehouse_stock_12345"] for text in asked}
    others = ["wharhose", "house", "12346", "", "   ", "%", "x" * 5_000]
    assert {text: shelf.find(text) for text in others} == {text: [] for text in others}


def test_what_a_group_says_of_itself_now_is_what_it_is_found_by(shelf: Shelf) -> None:
    group = shelf.put("people", "age", "height", description="old words")
    other = shelf.put("height_of_trees")
    group.description, group.tags = "new words", ["census"]
    shelf.session.flush()
    assert (shelf.find("old"), shelf.find("new"), shelf.find("census")) == ([], ["people"], ["people"])
    assert shelf.find("age") == ["people"]  # columns stay
    shelf.complete(group, "age", "mass")
    assert (shelf.find("height"), shelf.find("mass")) == (["height_of_trees"], ["people"])
    shelf.session.delete(group)
    shelf.session.delete(other)
    shelf.session.flush()
    assert shelf.find("people height mass") == []
    for record in (FeatureGroupWord, WordSpelling):
        assert shelf.session.scalar(select(func.count()).select_from(record)) == 0


def test_nothing_of_other_organisations_is_found_nor_helps_finding(shelf: Shelf) -> None:
    theirs = Shelf(shelf.session, OrganizationId("theirs"))
    mine, kept = shelf.put("orders"), theirs.put("orders")
    assert theirs.find("ordrs") == shelf.find("ordrs") == ["orders"]
    shelf.session.delete(mine)
    shelf.session.flush()
    assert (shelf.find("orders"), theirs.find("ordrs")) == ([], ["orders"])
    assert theirs.find("orders", feature_group_ids=[kept.feature_group_id]) == ["orders"]


def test_groups_that_have_all_words_are_found_among_many_that_have_one(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "MOST_GROUPS", 20)
    for number in range(60):
        shelf.put(f"clicks_of_{number}")
        shelf.put(f"january_of_{number}")
    wanted = shelf.put("a_january_with_clicks")
    for number in range(60, 120):
        shelf.put(f"clicks_of_{number}")
        shelf.put(f"january_of_{number}")
    assert shelf.find("clicks january")[0] == wanted.table_name
    assert shelf.find("clicks of 7")[0] == "clicks_of_7"
    assert len(shelf.find("clicks", limit=15)) == 15


def test_a_search_reads_as_few_rows_among_many_groups_as_among_few(shelf: Shelf) -> None:
    group = shelf.put("clicks_of_january")
    columns = {column.name: getattr(group, column.name) for column in FeatureGroup.__table__.columns}
    rows = [
        columns | {"feature_group_id": FeatureGroupId(f"g{number}"), "table_name": f"clicks_of_january_{number}"}
        for number in range(5_000)
    ]
    shelf.session.execute(insert(FeatureGroup), rows)
    words = {FeatureGroupId(row["feature_group_id"]): group_words(row["table_name"], (), None, ()) for row in rows}
    add_words(shelf.session.connection(), OURS, words)
    shelf.session.expunge_all()
    assert shelf.find("clicks 4321")[0] == "clicks_of_january_4321"
    assert len(shelf.session.identity_map) < 100


def test_a_group_of_very_many_columns_is_found_by_its_name_and_the_first_of_them(shelf: Shelf) -> None:
    shelf.put("wide", *(f"feature{number}" for number in range(5_000)))
    assert shelf.find("wide") == shelf.find("feature7") == ["wide"]


@given(st.text("abcde", min_size=5, max_size=12), st.data())
def test_words_that_differ_by_one_letter_share_a_spelling(word: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(word) - 1))
    letter = data.draw(st.sampled_from("abcdex"))
    end = at + 2
    for other in (
        word[:at] + word[at + 1 :],
        word[:at] + letter + word[at:],
        word[:at] + letter + word[at + 1 :],
        word[:at] + word[at:end][::-1] + word[end:],
    ):
        assert shortened(other) & spellings_of(word)
