"""The way from a table and source code to predictions, by the official client, beside the same functions called here.

Read `Journey.go` from top to end to see the client in use; nothing in it knows which server it talks to.
"""

import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import abacusai
import pandas as pd

from modelyard.cli.demo import features, first_model, second_model
from modelyard.cli.demo.local import in_a_folder_of_its_own
from modelyard.cli.demo.meanwhile import Meanwhile
from modelyard.cli.demo.telling import Compared, Teller
from modelyard.cli.failure import CommandFailed

TABLE = Path(__file__).with_name("concrete.csv")
#: Rows of the table whose mixes are asked for.
ASKED = (0, 333, 777)
TARGET = "csMPa"


def travel(key: str, url: str, teller: Teller) -> list[Compared]:
    """Goes the whole way as the holder of that key; what both sides predicted."""
    return Journey(abacusai.ApiClient(key, server=url), teller).go()


class Journey:
    """One journey of one client."""

    def __init__(self, client: abacusai.ApiClient, teller: Teller) -> None:
        self._client, self._teller = client, teller
        #: What the user's functions give when they are called here: the table, the feature group's rows.
        self._concrete = pd.read_csv(TABLE)
        self._mixes = features.mixes(self._concrete)
        self._compared: list[Compared] = []

    def go(self) -> list[Compared]:
        """All steps; what was predicted on both sides."""
        self._upload()
        self._derive()
        project = self._client.create_project("Concrete", "PYTHON_MODEL")
        model = self._train(project.project_id)
        deployment, token = self._deploy(project.project_id, model)
        self._predict("version 1", first_model, deployment, token)
        version = self._improve(model)
        self._switch(deployment, version, token)
        self._predict("version 2", second_model, deployment, token)
        self._predict_in_batch(deployment)
        return self._compared

    def _upload(self) -> None:
        with self._teller.step(f"upload {TABLE.name}") as step, TABLE.open("rb") as table:
            upload = self._client.create_dataset_from_upload(table_name="concrete", file_format="CSV")
            dataset = upload.upload_file(table)
            dataset.wait_for_inspection()
            step.note(f"{len(self._concrete):,} rows, {len(self._concrete.columns)} columns")

    def _derive(self) -> None:
        with self._teller.step("derive the feature group `mixes` by a Python function") as step:
            group = self._client.create_feature_group_from_function(
                table_name="mixes",
                function_source_code=inspect.getsource(features),
                function_name="mixes",
                input_feature_groups=["concrete"],
            )
            served = group.load_as_pandas()
            step.note(f"{len(served):,} rows, {len(served.columns)} columns, loaded back as pandas")
        for name in ("waterperbinder", "logage"):
            here, there = float(self._mixes[name].sum()), float(served[name].astype(float).sum())
            self._compared.append(Compared(f"mixes, sum of {name}", here, there))

    def _train(self, project_id: str) -> Any:
        with self._teller.step("create a model from source, and train it") as step:
            model = self._client.create_model_from_python(
                project_id=project_id,
                name="Strength",
                function_source_code=inspect.getsource(first_model),
                train_function_name="train",
                predict_function_name="predict",
                predict_many_function_name="predict_many",
                training_input_tables=["mixes"],
                is_thread_safe=True,
            )
            if not model.latest_model_version:
                model = self._client.retrain_model(model.model_id)
            self._wait_for_training(model)
            step.note(self._last_words(model))
        return model

    def _deploy(self, project_id: str, model: Any) -> tuple[Any, str]:
        with self._teller.step("deploy version 1") as step:
            token = self._client.create_deployment_token(project_id).deployment_token
            deployment = self._client.create_deployment(
                name="Strength", model_id=model.model_id, project_id=project_id, auto_deploy=False
            )
            deployment.wait_for_deployment()
            status = deployment.describe().status
            _check(status == "ACTIVE", f"the deployment is {status}")
            step.note("active")
        return deployment, token

    def _predict(self, version: str, source: ModuleType, deployment: Any, token: str) -> None:
        here = in_a_folder_of_its_own(lambda: source.train(self._mixes))
        with self._teller.step(f"predict with {version}") as step:
            for row in ASKED:
                query = self._query(row)
                served = self._client.predict(token, deployment.deployment_id, query_data=query)
                both = source.predict(here, query)["strength"], served["strength"]
                self._compared.append(Compared(f"mix {row}, {version}", *both))
            step.note(f"{len(ASKED)} mixes")

    def _improve(self, model: Any) -> str:
        with self._teller.step("update the source by updatePythonModel") as step:
            updated = self._client.update_python_model(
                model.model_id, function_source_code=inspect.getsource(second_model)
            )
            step.note(f"training required: {str(updated.training_required).lower()}")
        with self._teller.step("train again") as step:
            model = self._client.retrain_model(model.model_id)
            self._wait_for_training(model)
            step.note(self._last_words(model))
        return str(model.describe().latest_model_version.model_version)

    def _switch(self, deployment: Any, model_version: str, token: str) -> None:
        def call() -> None:
            self._client.predict(token, deployment.deployment_id, query_data=self._query(ASKED[0]))

        with self._teller.step("switch the deployment to version 2") as step:
            with Meanwhile(call) as meanwhile:
                self._client.set_deployment_model_version(deployment.deployment_id, model_version)
                deployment.wait_for_pending_deployment_update()
            serves = deployment.describe().model_version
            _check(serves == model_version, f"the deployment still serves {serves}")
            step.note(f"{meanwhile.answered} predictions meanwhile, none refused")

    def _predict_in_batch(self, deployment: Any) -> None:
        trained = in_a_folder_of_its_own(lambda: second_model.train(self._mixes))
        here = sum(each["strength"] for each in second_model.predict_many(trained, self._mixes))
        with self._teller.step("predict the whole table in a batch") as step:
            batch = self._client.create_batch_prediction(deployment.deployment_id, name="All mixes")
            version = batch.start().wait_for_predictions()
            _check(version.status == "COMPLETE", f"the batch prediction is {version.status}: {version.error}")
            results = version.load_results_as_pandas()
            step.note(f"{len(results):,} predictions, loaded back as pandas")
        self._compared.append(Compared("batch, sum of all", here, float(results["prediction.strength"].sum())))

    def _query(self, row: int) -> dict[str, float]:
        return {str(name): float(value) for name, value in self._concrete.iloc[row].items() if name != TARGET}

    def _wait_for_training(self, model: Any) -> None:
        version = model.wait_for_training().latest_model_version
        _check(version.status == "COMPLETE", f"the training is {version.status}: {version.error}")

    def _last_words(self, model: Any) -> str:
        (logs,) = model.describe().latest_model_version.get_training_logs(stdout=True)
        return str((logs.stdout or "").strip().rpartition("\n")[2])


def _check(well: bool, otherwise: str) -> None:
    if not well:
        raise CommandFailed(otherwise)
