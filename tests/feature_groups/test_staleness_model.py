"""Any sequence of definitions, changes and materialisations: what is outdated, and what is made, is what a model says.

The model is a few dictionaries: of every group what it is made from now, and what its newest version was made from. A
group is outdated exactly when these differ, or when a group that it reads is outdated or has another version by now.
Materialising a group makes one version of it and one of each ancestor that is outdated or has none, and no other.
"""

from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from modelyard.ids import new_id
from tests.feature_groups.conftest import Tables

pytestmark = pytest.mark.sandbox

MODULE = "def shift(rows):\n    return rows.assign(id=rows.id + {})\n"
FUNCTION = (
    "import pandas as pd\nfrom {module} import shift\n\n\ndef make(*tables):\n    return shift(pd.concat(tables))\n"
)
#: Names of modules have no digits.
LETTERS = str.maketrans("0123456789", "ghijklmnop")
REGISTERED = "def through(table):\n    return table.assign(id=table.id + {})\n"


class Made(NamedTuple):
    """What decides a group's rows: its own definition, the code behind it, the versions that it reads."""

    definition: str
    code: str
    parents: tuple[tuple[str, int], ...]


class Model:
    """What is expected of a house."""

    def __init__(self) -> None:
        self.definitions: dict[str, str] = {}
        self.code: dict[str, str] = {}
        self.parents: dict[str, list[str]] = {}
        self.given: set[str] = set()
        #: Number of versions, and what the newest was made from.
        self.versions: dict[str, int] = {}
        self.newest: dict[str, Made] = {}
        #: Module or function -> what it holds.
        self.sources: dict[str, int] = {}

    def now(self, name: str) -> Made:
        code = self.code.get(name, "")
        parents = tuple((each, self.versions[each]) for each in sorted(set(self.parents[name])))
        return Made(self.definitions[name], f"{code}:{self.sources.get(code)}", parents)

    def is_outdated(self, name: str) -> bool:
        if name in self.given:
            return False
        above = any(self.is_outdated(each) or not self.versions[each] for each in self.parents[name])
        return above or (name in self.newest and self.newest[name] != self.now(name))

    def materialize(self, name: str, *, asked: bool = True) -> None:
        for each in self.parents[name]:
            self.materialize(each, asked=False)
        if name not in self.given and (asked or not self.versions[name] or self.is_outdated(name)):
            self.versions[name] += 1
            self.newest[name] = self.now(name)

    def reads(self, name: str, other: str) -> bool:
        return name == other or any(self.reads(each, other) for each in self.parents[name])


class House(RuleBasedStateMachine):
    """The steps; each is done in the house and in the model."""

    tables: Tables

    @initialize()
    def begin(self) -> None:
        self.model, self.ids, self.prefix = Model(), dict[str, str](), "m" + new_id().translate(LETTERS)
        self.module = f"{self.prefix}_shifts"
        self.function = f"{self.prefix}_through"
        self.call = self.tables.yard.call
        self.model.sources = {self.module: 0, self.function: 0}
        self.call("createModule", name=self.module, sourceCode=MODULE.format(0))
        variables = [{"name": "table", "variableType": "FEATURE_GROUP"}]
        self.call("createPythonFunction", name=self.function, functionName="through",
                  sourceCode=REGISTERED.format(0), functionVariableMappings=variables)  # fmt: skip
        self._note(f"{self.prefix}_rows", self._put(f"{self.prefix}_rows"), [], "", is_given=True)

    def _put(self, name: str) -> str:
        return self.tables.put(name, id=[1, 2, 3])

    def _note(self, name: str, group_id: str, parents: list[str], definition: str, *, is_given: bool = False) -> None:
        self.ids[name] = group_id
        self.model.definitions[name], self.model.parents[name] = definition, parents
        self.model.versions[name] = int(is_given)
        if is_given:
            self.model.given.add(name)

    def _parents(self, data: Any, most: int) -> list[str]:
        return list(data.draw(st.lists(st.sampled_from(sorted(self.ids)), min_size=1, max_size=most, unique=True)))

    def _new(self) -> str:
        return f"{self.prefix}_{len(self.ids)}"

    @staticmethod
    def _sql(parents: list[str], number: int) -> str:
        return " UNION ALL ".join(f"SELECT id + {number} AS id FROM {each}" for each in parents)

    @precondition(lambda self: len(self.ids) < 7)
    @rule(data=st.data(), number=st.integers(0, 2))
    def define_sql(self, data: Any, number: int) -> None:
        name, parents = self._new(), self._parents(data, 3)
        text = self._sql(parents, number)
        self._note(name, self.tables.sql(name, text), parents, text)

    @precondition(lambda self: len(self.ids) < 7)
    @rule(data=st.data())
    def define_python(self, data: Any) -> None:
        name, parents = self._new(), self._parents(data, 2)
        source = FUNCTION.format(module=self.module)
        self._note(name, self.tables.function(name, source, "make", parents), parents, source)
        self.model.code[name] = self.module

    @precondition(lambda self: len(self.ids) < 7)
    @rule(data=st.data())
    def define_registered(self, data: Any) -> None:
        name, [parent] = self._new(), self._parents(data, 1)
        made = self.call("createFeatureGroupFromFunction", tableName=name, pythonFunctionName=self.function,
                         pythonFunctionBindings=[{"name": "table", "value": parent}])  # fmt: skip
        self._note(name, made["featureGroupId"], [parent], "")
        self.model.code[name] = self.function

    @precondition(lambda self: len(self.ids) < 7)
    @rule(data=st.data(), count=st.integers(1, 3))
    def define_sample(self, data: Any, count: int) -> None:
        name, [parent] = self._new(), self._parents(data, 1)
        config = {"samplingMethod": "N_SAMPLING", "sampleCount": count}
        made = self.call(
            "createSamplingFeatureGroup", featureGroupId=self.ids[parent], tableName=name, samplingConfig=config
        )
        self._note(name, made["featureGroupId"], [parent], f"sample {count}")

    @precondition(lambda self: len(self.ids) < 7)
    @rule(data=st.data())
    def define_merge(self, data: Any) -> None:
        name, [parent] = self._new(), self._parents(data, 1)
        config = {"mergeMode": "LAST_N", "numVersions": 2}
        made = self.call(
            "createMergeFeatureGroup", sourceFeatureGroupId=self.ids[parent], tableName=name, mergeConfig=config
        )
        self._note(name, made["featureGroupId"], [parent], "merge 2")

    @rule(data=st.data(), number=st.integers(0, 3))
    def redefine_sql(self, data: Any, number: int) -> None:
        known = [each for each in self.ids if self.model.definitions[each].startswith("SELECT")]
        if not known:
            return
        name = data.draw(st.sampled_from(known))
        parents = [each for each in self._parents(data, 3) if not self.model.reads(each, name)]
        if not parents:
            return
        text = self._sql(parents, number)
        self.call("updateFeatureGroupSqlDefinition", "PATCH", featureGroupId=self.ids[name], sql=text)
        self.model.definitions[name], self.model.parents[name] = text, parents

    @rule()
    def new_rows(self) -> None:
        self._put(f"{self.prefix}_rows")
        self.model.versions[f"{self.prefix}_rows"] += 1

    @rule(number=st.integers(0, 2))
    def change_module(self, number: int) -> None:
        self.call("updateModule", "PATCH", name=self.module, sourceCode=MODULE.format(number))
        self.model.sources[self.module] = number

    @rule(number=st.integers(0, 2))
    def change_function(self, number: int) -> None:
        self.call("updatePythonFunction", "PATCH", name=self.function, sourceCode=REGISTERED.format(number))
        self.model.sources[self.function] = number

    @rule(data=st.data())
    def materialize(self, data: Any) -> None:
        made = [each for each in self.ids if each not in self.model.given]
        if not made:
            return
        name = data.draw(st.sampled_from(made))
        version = self.tables.materialize(self.ids[name])
        assert version["status"] == "COMPLETE", version["error"]
        self.model.materialize(name)
        counts = {each: len(self.tables.versions(group_id)) for each, group_id in self.ids.items()}
        assert counts == self.model.versions

    @invariant()
    def what_is_outdated_is_what_the_model_says(self) -> None:
        if not hasattr(self, "ids"):
            return
        shown = {each: self.tables.describe(group_id)["latestVersionOutdated"] for each, group_id in self.ids.items()}
        assert shown == {each: bool(self.model.newest.get(each)) and self.model.is_outdated(each) for each in self.ids}


def test_what_is_outdated_and_what_is_made_is_what_a_model_says(shared: Tables) -> None:
    class Here(House):
        tables = shared

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Here,
        settings=settings(
            max_examples=5, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_a_diamond_is_made_from_one_version_of_its_top(shared: Tables) -> None:
    shared.put("diamond_rows", id=[1])
    top = shared.sql("diamond_top", "SELECT * FROM diamond_rows")
    sides = [shared.sql(f"diamond_{side}", "SELECT * FROM diamond_top") for side in ("left", "right")]
    bottom = shared.sql("diamond_bottom", "SELECT l.id FROM diamond_left l JOIN diamond_right r USING (id)")
    shared.materialize(bottom)
    shared.put("diamond_rows", id=[1, 2])
    assert all(shared.describe(each)["latestVersionOutdated"] for each in (top, *sides, bottom))
    version = shared.materialize(bottom)
    assert [len(shared.versions(each)) for each in (top, *sides, bottom)] == [2, 2, 2, 2]
    assert shared.rows(version)["id"].tolist() == [1, 2]
    assert not shared.describe(bottom)["latestVersionOutdated"]
