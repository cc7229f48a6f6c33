"""A model in use whose owner makes every mistake: each is told clearly, and the version at work goes on predicting."""

import time

import abacusai
import pytest
from abacusai.client import ConflictError

from tests.models.house import make_table
from tests.yard import Yard

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(240)]

GOOD = """
def train(rows):
    return int(rows["x"].sum())

def predict(model, query):
    return model + query["x"]
"""
PREDICT = "\n\ndef predict(model, query):\n    return model\n"

#: What `train` does, its config, what its version's error says.
TRAININGS = {
    "raises": ("raise KeyError('strength')", {}, "KeyError: 'strength'"),
    "leaves": ("import sys; sys.exit(3)", {}, "3"),
    "ends its process": ("import os; os._exit(4)", {}, "status 4"),
    "kills itself": ("import os; os.kill(os.getpid(), 9)", {}, "signal"),
    "takes all memory": ("return [bytearray(1024**3) for _ in range(8)]", {}, "memory"),
    "never ends": ("\n    while True: pass", {"TIMEOUT_MINUTES": 0.02}, "1.2 seconds"),
    "returns what can't be pickled": ("return (each for each in rows)", {}, "can't be pickled"),
    "returns an open file": ("return open('x', 'w')", {}, "can't be pickled"),
    "has no stack left": ("return train(rows)", {}, "RecursionError"),
    "raises what can't be shown": (
        "\n    class Odd(Exception):\n        def __str__(self): raise ValueError('no')\n    raise Odd", {}, "Odd",
    ),
}  # fmt: skip


class Owner:
    """Somebody with a model that is deployed and answers."""

    def __init__(self, yard: Yard) -> None:
        make_table(yard, "rows_of_bad_models", {"x": [1, 2]})
        self.client: abacusai.ApiClient = yard.client()
        project_id = self.client.create_project("Careless", "PYTHON_MODEL").project_id
        model = self.client.create_model_from_python(
            project_id, GOOD, "train", ["rows_of_bad_models"], "predict", memory=1
        )
        model.wait_for_training()
        self.model_id = model.model_id
        self.good_version = self.client.describe_model(self.model_id).latest_model_version.model_version
        self.token = self.client.create_deployment_token(project_id).deployment_token
        self.deployment = self.client.create_deployment(model_id=self.model_id)
        self.deployment.wait_for_deployment()

    def check_nothing_is_lost(self) -> None:
        assert self.client.predict(self.token, self.deployment.deployment_id, {"x": 1}) == 4
        assert self.deployment.refresh().model_version == self.good_version
        assert self.client.describe_model_version(self.good_version).status == "COMPLETE"

    def retrain(self, source: str, config: dict[str, float]) -> abacusai.ModelVersion:
        self.client.update_python_model(self.model_id, function_source_code=source, training_config=config)
        model = self.client.retrain_model(self.model_id)
        model.wait_for_training()
        return self.client.describe_model(self.model_id).latest_model_version


@pytest.fixture(scope="module")
def owner(shared_yard: Yard) -> Owner:
    return Owner(shared_yard)


@pytest.mark.parametrize("way", TRAININGS)
def test_a_training_that_fails_is_told_and_leaves_the_one_at_work(owner: Owner, way: str) -> None:
    body, config, words = TRAININGS[way]
    version = owner.retrain(f"def train(rows):\n    {body}{PREDICT}", config)
    assert version.status == "FAILED"
    assert words in version.error, version.error
    assert "/work" not in version.error
    assert "site-packages" not in version.error
    owner.check_nothing_is_lost()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def train(rows):\n    return rows[\n", "line 2"),
        ("def train():\n    return 1" + PREDICT, "0 positional arguments"),
        ("async def train(rows):\n    return 1" + PREDICT, "async"),
        ("def train(rows):\n    return mean(rows)" + PREDICT, "`mean`"),
        ("import no_such_module_at_all\ndef train(rows):\n    return 1" + PREDICT, "no_such_module_at_all"),
        ("def train(rows):\n    return 1\n", "predict"),
        ("\x00" + GOOD, "NUL"),
        ("", "train"),
    ],
)
def test_a_source_that_cannot_run_is_refused_and_leaves_the_one_before(owner: Owner, source: str, words: str) -> None:
    before = owner.client.describe_model(owner.model_id).code_source.source_code
    with pytest.raises(ConflictError) as refused:
        owner.client.update_python_model(owner.model_id, function_source_code=source)
    assert words.lower() in str(refused.value).lower(), refused.value
    assert owner.client.describe_model(owner.model_id).code_source.source_code == before
    owner.check_nothing_is_lost()


def test_a_gigabyte_of_prints_is_cut_and_says_how_much_is_left_out(owner: Owner) -> None:
    body = "import sys\n    for _ in range(1024):\n        sys.stdout.write(('x' * 1023 + '\\n') * 1024)\n"
    began = time.monotonic()
    version = owner.retrain(f"def train(rows):\n    {body}    print('the end')\n    return 2{PREDICT}", {})
    assert time.monotonic() - began < 90
    assert version.status == "COMPLETE", version.error
    [logs] = version.get_training_logs(stdout=True)
    assert "characters left out" in logs.stdout
    assert logs.stdout.endswith("the end\n")
    assert len(logs.stdout) < 9 * 1024**2


def test_after_all_that_the_model_is_trained_and_switched_as_ever(owner: Owner) -> None:
    version = owner.retrain(GOOD.replace('model + query["x"]', "-model"), {})
    assert version.status == "COMPLETE", version.error
    owner.client.set_deployment_model_version(owner.deployment.deployment_id, version.model_version)
    owner.deployment.wait_for_pending_deployment_update()
    assert owner.client.predict(owner.token, owner.deployment.deployment_id, {"x": 1}) == -3
