"""Batches end to end: rows in, lines out, and what becomes of rows and functions that fail."""

import pytest

from tests.batch_predictions.bench import ECHO, Bench
from tests.yard import CallFailed

pytestmark = pytest.mark.sandbox

MANY = "def train(*tables):\n    return 10\n\n\ndef predict_many(model, queries):\n"


def test_rows_are_predicted_one_by_one_and_shown_with_their_inputs(bench: Bench) -> None:
    version = bench.predict(bench.deploy(ECHO, bench.table(x=[1, 2, 3], name=["a", "b", "c"])))
    assert bench.lines(version) == [
        {"x": 1, "name": "a", "prediction": 10},
        {"x": 2, "name": "b", "prediction": 20},
        {"x": 3, "name": "c", "prediction": 30},
    ]
    assert (version["totalPredictions"], version["failedPredictions"]) == (3, 0)
    assert version["fileOutputFormat"] == "JSON"
    assert version["predictionsStartedAt"] <= version["predictionsCompletedAt"]


def test_predict_many_gets_a_frame_and_its_results_are_in_order(bench: Bench) -> None:
    source = MANY + "    queries['x'] *= model\n    return queries['x']\n"
    version = bench.predict(bench.deploy(source, bench.table(x=list(range(1000)))))
    assert bench.lines(version) == [{"x": x, "prediction": 10 * x} for x in range(1000)]


def test_predict_many_gets_dicts_where_its_annotation_says_so(bench: Bench) -> None:
    source = MANY.replace("queries", "queries: list") + "    return [sorted(query) for query in queries]\n"
    version = bench.predict(bench.deploy(source, bench.table(b=[1], a=[2])))
    assert bench.lines(version) == [{"b": 1, "a": 2, "prediction": ["a", "b"]}]


def test_initialize_is_called_once_and_what_it_gives_is_the_model(bench: Bench) -> None:
    source = ECHO + "\n\ndef initialize(model):\n    print('initialized')\n    return model + 1\n"
    version = bench.predict(bench.deploy(source, bench.table(x=[1, 2])))
    assert [line["prediction"] for line in bench.lines(version)] == [11, 22]
    logs = bench.yard.call(
        "getBatchPredictionVersionLogs", "GET", batchPredictionVersion=version["batchPredictionVersion"]
    )
    assert logs["logs"].count("initialized") == 1
    assert logs["warnings"] == []


def test_what_the_training_imported_first_is_imported_before_the_rows_come(bench: Bench) -> None:
    source = "import joblib\nimport sys\n\n\ndef train(*tables):\n    return 1\n\n\ndef predict(model, query):\n"
    source += "    names = list(sys.modules)\n    return names.index('joblib') < names.index('modelyard_guest.train')\n"
    version = bench.predict(bench.deploy(source, bench.table(x=[1])))
    assert [line["prediction"] for line in bench.lines(version)] == [True]


def test_arguments_reach_the_function_as_far_as_it_accepts_them(bench: Bench) -> None:
    source = "def train():\n    return 1\n\n\ndef predict(model, query, factor=1):\n    return query['x'] * factor\n"
    deployment_id = bench.deploy(source)
    given = {"factor": 3, "other": 4, "problemType": "trainable_plug_and_play", "forEval": None}
    rows = {"DATA": bench.group_id(bench.table(x=[1, 2]))}
    version = bench.predict(deployment_id, batchPredictionArgs=given, inputFeatureGroups=rows)
    assert [line["prediction"] for line in bench.lines(version)] == [3, 6]
    assert version["batchPredictionArgs"] == given
    misspelt = bench.predict(deployment_id, batchPredictionArgs={"facter": 3}, inputFeatureGroups=rows)
    assert (misspelt["status"], misspelt["failedPredictions"]) == ("FAILED", 0)
    assert "The model takes no argument `facter`. Did you mean `factor`?" in misspelt["error"]


def test_arguments_stand_over_those_of_all_and_the_deployments_under_both_or_above(bench: Bench) -> None:
    source = "def train(*tables):\n    return 1\n\n\ndef predict(model, query, a=0, b=0, c=0):\n    return [a, b, c]\n"
    deployment_id = bench.deploy(source, bench.table(x=[1]))
    given = {"globalPredictionArgs": {"a": "all", "b": "all"}, "batchPredictionArgs": {"b": "mine"}}
    batch, defaults = bench.define(deployment_id, **given), {"a": "default", "c": "default"}
    for is_override, expected in ((False, ["all", "mine", "default"]), (True, ["default", "mine", "default"])):
        bench.yard.call(
            "setDefaultPredictionArguments",
            deploymentId=deployment_id,
            predictionArguments=defaults,
            setAsOverride=is_override,
        )
        assert [line["prediction"] for line in bench.lines(bench.start(batch))] == [expected]


def test_a_wrong_number_of_results_is_told_with_both_numbers(bench: Bench) -> None:
    version = bench.predict(bench.deploy(MANY + "    return [1, 2]\n", bench.table(x=[1, 2, 3])))
    assert version["status"] == "FAILED"
    assert "predict_many gave 2 results for 3 queries" in version["error"]
    answer = bench.chunk(version)
    assert answer.status_code == 409
    assert "2 results for 3 queries" in answer.json()["error"]


def test_a_row_that_fails_carries_its_error_and_is_counted(bench: Bench) -> None:
    source = ECHO.replace(
        "    return query", "    if query['x'] == 2:\n        raise ValueError('two')\n    return query"
    )
    version = bench.predict(bench.deploy(source, bench.table(x=[1, 2, 3])))
    assert bench.lines(version) == [
        {"x": 1, "prediction": 10},
        {"x": 2, "error": "ValueError: two"},
        {"x": 3, "prediction": 30},
    ]
    assert (version["totalPredictions"], version["failedPredictions"]) == (3, 1)
    assert version["batchPredictionWarnings"] == "1 of 3 predictions failed; the first, row 2: ValueError: two"


def test_a_batch_fails_only_if_every_row_does(bench: Bench) -> None:
    source = ECHO.replace("    return query", "    raise KeyError('nothing')\n    return query")
    version = bench.predict(bench.deploy(source, bench.table(x=[1, 2])))
    assert version["status"] == "FAILED"
    assert version["error"] == "All 2 predictions failed; the first, row 1: KeyError: 'nothing'"
    logs = bench.yard.call(
        "getBatchPredictionVersionLogs", "GET", batchPredictionVersion=version["batchPredictionVersion"]
    )
    assert any("raise KeyError('nothing')" in line for line in logs["logs"])


def test_predict_many_that_raises_twice_fails_the_batch(bench: Bench) -> None:
    version = bench.predict(bench.deploy(MANY + "    raise OSError('never')\n", bench.table(x=[1, 2])))
    assert version["status"] == "FAILED"
    assert version["error"] == "OSError: predict_many failed twice on rows 1 to 2: never"
    assert version["totalPredictions"] == 0


def test_what_has_no_json_form_fails_its_row_alone(bench: Bench) -> None:
    source = MANY + "    return [1, object()]\n"
    version = bench.predict(bench.deploy(source, bench.table(x=[1, 2])))
    first, second = bench.lines(version)
    assert first["prediction"] == 1
    assert "object of type object" in second["error"]


def test_values_of_every_kind_come_out_as_json(bench: Bench) -> None:
    body = "    import datetime, numpy\n"
    body += (
        "    return {'nan': float('nan'), 'inf': numpy.float64('inf'), 'many': numpy.arange(2), 'n': numpy.int64(7),\n"
    )
    body += "            'day': datetime.date(2026, 1, 2), '中文': query['价格']}\n"
    source = ECHO.split("def predict", maxsplit=1)[0] + "def predict(model, query):\n" + body
    import datetime

    moment = datetime.datetime(2026, 5, 6, 7, 8, 9)  # noqa: DTZ001 - tables hold local moments too
    table = bench.table(价格=[1.5], missing=[float("nan")], none=[None], when=[moment], raw=[b"\x00\xff"])
    version = bench.predict(bench.deploy(source, table))
    assert bench.lines(version) == [
        {
            "价格": 1.5, "missing": None, "none": None, "when": "2026-05-06T07:08:09", "raw": "AP8=",
            "prediction": {"nan": None, "inf": None, "many": [0, 1], "n": 7, "day": "2026-01-02", "中文": 1.5},
        }
    ]  # fmt: skip


def test_an_input_called_like_the_prediction_gets_a_prefix(bench: Bench) -> None:
    version = bench.predict(bench.deploy(ECHO, bench.table(x=[1], prediction=[5], error=["no"])))
    assert bench.lines(version) == [{"x": 1, "input_prediction": 5, "input_error": "no", "prediction": 10}]


def test_a_table_without_rows_gives_an_empty_result(bench: Bench) -> None:
    deployment_id = bench.deploy(ECHO, bench.table(x=[], name=[]))
    version = bench.predict(deployment_id)
    assert bench.raw(version) == b""
    assert version["totalPredictions"] == 0
    version = bench.predict(deployment_id, outputFormat="CSV")
    assert bench.raw(version) == b"x,name,prediction\n"


def test_the_result_shows_the_wanted_columns_and_its_origin(bench: Bench) -> None:
    deployment_id = bench.deploy(ECHO, bench.table(x=[1], y=[2], z=[3]))
    version = bench.predict(deployment_id, resultInputColumns=["z"], outputIncludesMetadata=True)
    [line] = bench.lines(version)
    assert line == {
        "z": 3,
        "prediction": 10,
        "prediction_start_time": version["predictionsStartedAt"],
        "batch_prediction_version": version["batchPredictionVersion"],
        "model_version": version["modelVersion"],
    }
    version = bench.predict(deployment_id, resultInputColumns=["q"])
    assert version["error"] == "resultInputColumns names q, but the input has the columns x, y, z."


def test_a_result_is_handed_out_in_chunks_until_nothing_is_left(bench: Bench) -> None:
    version = bench.predict(bench.deploy(ECHO, bench.table(x=[1, 2, 3])))
    whole = bench.raw(version)
    pieces = [bench.chunk(version, offset=str(at), chunkSize="10").content for at in range(0, len(whole) + 10, 10)]
    assert b"".join(pieces) == whole
    assert pieces[-1] == b""


def test_a_batch_needs_an_input(bench: Bench) -> None:
    deployment_id = bench.deploy("def train():\n    return 1\n\n\ndef predict(model, query):\n    return 1\n")
    with pytest.raises(CallFailed, match="has no input"):
        bench.start(bench.define(deployment_id))


def test_a_model_that_uses_too_much_memory_is_stopped_and_told(bench: Bench) -> None:
    source = ECHO.replace("    return query", "    query['y'] = bytearray(3 * 2**30)\n    return query")
    version = bench.predict(bench.deploy(source, bench.table(x=[1]), memory=1))
    assert version["status"] == "FAILED"
    assert "memory" in version["error"]


def test_a_model_that_predicts_with_its_tables_gets_them_in_batches_too(bench: Bench) -> None:
    source = (
        "def train(df):\n    return 1\n\n\ndef predict(model, query, df):\n    return int(df['x'].sum()) + query['x']\n"
    )
    version = bench.predict(bench.deploy(source, bench.table(x=[1, 2])))
    assert [line["prediction"] for line in bench.lines(version)] == [4, 5]
