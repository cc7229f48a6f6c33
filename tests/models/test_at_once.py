"""Changes at the same time: each becomes a revision of its own, on both kinds of database, and none is lost."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

from sqlalchemy import select

from modelyard.ids import ModelId
from modelyard.models.records import Model, ModelRevision, ModelVersion
from tests.models.house import SOURCE, make_model
from tests.yard import Yard

AT_ONCE = 8
CALLS = 40


def test_updates_at_once_all_become_revisions_in_one_order(desk_on: Yard) -> None:
    model_id = make_model(desk_on)["modelId"]

    def update(number: int) -> None:
        changes: dict[str, Any] = {"memory": number} if number % 2 else {"functionSourceCode": f"{SOURCE}# {number}"}
        desk_on.call("updatePythonModel", modelId=model_id, **changes)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(update, range(1, CALLS + 1)))
    with desk_on.database.read() as session:
        query = select(ModelRevision).where(ModelRevision.model_id == ModelId(model_id))
        revisions = session.scalars(query.order_by(ModelRevision.number)).all()
        head = session.get_one(Model, ModelId(model_id)).head
    assert [each.number for each in revisions] == list(range(1, CALLS + 2))
    assert head == CALLS + 1
    # Each revision is the one before it with one change: no change of another call was undone.
    for before, after in pairwise(revisions):
        changed = (before.memory_gib != after.memory_gib, before.source_digest != after.source_digest)
        assert sorted(changed) == [False, True]


def test_a_change_of_the_source_and_one_of_the_functions_at_once_are_checked_together(desk_on: Yard) -> None:
    both = SOURCE + "\n\ndef start(model):\n    return model\n"
    model_id = make_model(desk_on, functionSourceCode=both)["modelId"]

    def change(number: int) -> bool:
        changes = {"initializeFunctionName": "start"} if number % 2 else {"functionSourceCode": SOURCE}
        try:
            desk_on.call("updatePythonModel", modelId=model_id, **changes)
        except Exception as refused:  # noqa: BLE001 - whichever comes second must be refused, with a ConflictError
            return "ConflictError" not in str(refused)
        return True

    with ThreadPoolExecutor(2) as pool:
        accepted = list(pool.map(change, range(2)))
    model = desk_on.call("describeModel", "GET", modelId=model_id)
    assert accepted.count(True) == 1
    assert (model["initializeFunctionName"] is None) == (model["sourceCode"] == SOURCE)


def test_trainings_at_once_get_numbers_of_their_own(desk_on: Yard) -> None:
    model_id = make_model(desk_on)["modelId"]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda _: desk_on.call("retrainModel", modelId=model_id), range(12)))
    with desk_on.database.read() as session:
        numbers = session.scalars(select(ModelVersion.number).where(ModelVersion.model_id == ModelId(model_id))).all()
    assert sorted(numbers) == list(range(1, 14))
