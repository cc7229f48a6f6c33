"""The task `train`: what reaches the user's function, what comes back, and how each way of failing is told."""

import json
import os
import pickle
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from modelyard.sandbox import Guest, Interpreter, Limits, Sandbox
from modelyard.sandbox.guest import frames
from tests.sandbox.conftest import Run, read_artifact


def ipc(folder: Path, table: pa.Table) -> int:
    """An open descriptor of the table as one Arrow record batch."""
    path = folder / f"{len(list(folder.iterdir()))}.arrow"
    with pa.OSFile(str(path), "wb") as target, pa.ipc.new_file(target, table.schema) as writer:
        writer.write_table(table)
    return os.open(path, os.O_RDONLY)


TABLE = pa.table({
    "id": pa.array([1, 2, 3]),
    "price": pa.array([1.5, None, 3.5]),
    "region": pa.array(["a", "b", "a"], pa.large_string()),
    "name": pa.array(["x", None, "z"], pa.large_string()),
    "when": pa.array([0, 1, 2], pa.timestamp("us")),
    "flag": pa.array([True, False, True]),
})  # fmt: skip


def test_what_train_returns_is_pickled_and_prints_are_heard(train: Run) -> None:
    heard: list[tuple[str, str]] = []
    source = "import sys\ndef train():\n  print('hello')\n  print('oops', file=sys.stderr)\n  return {'w': 2}\n"
    outcome = train(source, on_output=lambda stream, text: heard.append((stream, text)))
    assert outcome.error is None
    assert pickle.loads(outcome.collected or b"") == {"w": 2}
    assert sorted(heard) == [("stderr", "oops\n"), ("stdout", "hello\n")]
    assert outcome.usage.peak_memory_bytes > 1e6
    assert outcome.usage.cpu_s > 0
    assert outcome.usage.started_at is not None
    assert 0 < time.monotonic() - outcome.usage.started_at < 60


def test_circles_of_objects_that_the_code_drops_are_collected(train: Run) -> None:
    source = """
import weakref

class Link:
    pass

def train():
    first = Link()
    first.itself, seen = first, weakref.ref(first)
    del first
    made = [[] for _ in range(100_000)]
    return seen() is None, len(made)
"""
    assert pickle.loads(train(source).collected or b"") == (True, 100_000)


@pytest.mark.parametrize("pandas_major", [2, 3])
def test_a_frame_can_be_written_in_place_and_has_ordinary_types(
    sandbox: Sandbox, interpreter: Interpreter, older_interpreter: Interpreter, tmp_path: Path, pandas_major: int
) -> None:
    source = """
def train(df):
    import pandas
    kinds = {name: str(kind) for name, kind in df.dtypes.items()}
    df.loc[0, 'id'] = 7
    df['price'] = df['price'].fillna(0.0)
    df.loc[1, 'region'] = 'never seen'
    df.loc[0, 'name'] = 'new'
    df.iloc[2, 4] = pandas.Timestamp(0)
    df.loc[df['id'] > 2, 'flag'] = False
    df['more'] = df['id'] * 2
    df['id'] += 1
    df.sort_values('id', inplace=True)
    df.drop(columns=['when'], inplace=True)
    return kinds, df.to_dict('list'), pandas.__version__
"""
    python = interpreter if pandas_major == 3 else older_interpreter
    message = {"source": source, "train_function": "train", "tables": [{"name": "t"}]}
    outcome = sandbox.run(
        python, Limits(memory_gib=2), "train", message, fds=[ipc(tmp_path, TABLE)], collect=read_artifact
    )
    assert outcome.error is None, outcome.error
    kinds, values, version = pickle.loads(outcome.collected or b"")
    assert version.startswith(str(pandas_major))
    text = "str" if pandas_major == 3 else "object"
    assert kinds == {
        "id": "int64", "price": "float64", "region": text, "name": text, "when": "datetime64[us]", "flag": "bool",
    }  # fmt: skip
    assert [name if isinstance(name, str) else None for name in values.pop("name")] == [None, "z", "new"]
    assert values == {
        "id": [3, 4, 8], "price": [0.0, 3.5, 1.5], "region": ["never seen", "a", "a"],
        "flag": [False, False, False], "more": [4, 6, 14],
    }  # fmt: skip


@pytest.mark.parametrize("pandas_major", [2, 3])
def test_numbers_side_by_side_are_one_array_without_a_copy_and_still_columns_of_their_own(
    sandbox: Sandbox, interpreter: Interpreter, older_interpreter: Interpreter, tmp_path: Path, pandas_major: int
) -> None:
    numbers = {f"f{at}": [at + 0.5, at + 1.5, at + 2.5] for at in range(4)}
    table = pa.table({"id": [1, 2, 3], **numbers, "name": ["a", "b", None], "n": [4, 5, 6], "m": [7, 8, None]})
    source = """
def train(df):
    import numpy
    part = df.iloc[:, 1:5]
    array = part.to_numpy()
    is_shared = numpy.shares_memory(array, part.to_numpy())
    first = array[0].tolist()
    del array, part
    df.loc[0, 'f1'] = -1.0
    df['f2'] += 1
    df.drop(columns=['f3'], inplace=True)
    numbers = df.drop(columns=['name', 'm']).to_dict('list')
    return is_shared, first, numbers, df['name'].isna().tolist(), list(df.columns)
"""
    python = interpreter if pandas_major == 3 else older_interpreter
    message = {"source": source, "train_function": "train", "tables": [{"name": "t"}]}
    outcome = sandbox.run(
        python, Limits(memory_gib=2), "train", message, fds=[ipc(tmp_path, table)], collect=read_artifact
    )
    assert outcome.error is None, outcome.error
    assert pickle.loads(outcome.collected or b"") == (
        True,
        [0.5, 1.5, 2.5, 3.5],
        {"id": [1, 2, 3], "f0": [0.5, 1.5, 2.5], "f1": [-1.0, 2.5, 3.5], "f2": [3.5, 4.5, 5.5], "n": [4, 5, 6]},
        [False, False, True],
        ["id", "f0", "f1", "f2", "name", "n", "m"],
    )


def test_columns_that_lie_unevenly_are_not_one_array() -> None:
    memory = np.zeros(30)
    evenly = {at: memory[at * 5 : at * 5 + 3] for at in (0, 1, 2)}
    assert frames._runs(evenly, 3) == [[0, 1, 2]]
    assert frames._runs(evenly, 4) == [[0, 1, 2], [3]]
    assert frames._runs(evenly | {3: memory[16:19], 5: memory[21:24], 6: memory[26:29]}, 7) == [
        [0, 1, 2], [3], [4], [5, 6],
    ]  # fmt: skip
    assert frames._runs(evenly | {3: memory[15:18].view("int64")}, 4) == [[0, 1, 2], [3]]


def test_the_table_on_disk_is_not_changed_by_what_a_guest_does_to_its_frame(train: Run, tmp_path: Path) -> None:
    before = ipc(tmp_path, TABLE)
    source = "def train(df):\n  df['id'].to_numpy().flags.writeable\n  df.iloc[:, 0] = 9\n"
    assert train(source, fds=[before], message={"tables": [{"name": "t"}]}).error is None
    with pa.OSFile(str(tmp_path / "0.arrow")) as file:
        assert pa.ipc.open_file(file).read_all().column("id").to_pylist() == [1, 2, 3]


def test_annotations_choose_the_form_of_each_table(train: Run, tmp_path: Path) -> None:
    source = """
from __future__ import annotations
import numpy as np
import pyarrow as pa
import polars as pl
def train(a: pa.Table, b: pl.DataFrame, c: pl.LazyFrame, d, *, training_config):
    kinds = [f"{type(t).__module__.split('.')[0]}.{type(t).__name__}" for t in (a, b, c, d)]
    return kinds, training_config, c.collect()['region'].to_list()
"""
    tables = [{"name": name} for name in "abcd"]
    outcome = train(
        source, fds=[ipc(tmp_path, TABLE) for _ in tables], message={"tables": tables, "config": {"depth": 3}}
    )
    assert outcome.error is None, outcome.error
    assert pickle.loads(outcome.collected or b"") == (
        ["pyarrow.Table", "polars.DataFrame", "polars.LazyFrame", "pandas.DataFrame"], {"depth": 3}, ["a", "b", "a"],
    )  # fmt: skip


def test_a_table_without_rows_keeps_its_columns(train: Run, tmp_path: Path) -> None:
    source = "def train(df):\n  return list(df.columns), len(df)\n"
    outcome = train(source, fds=[ipc(tmp_path, TABLE.slice(0, 0))], message={"tables": [{"name": "t"}]})
    assert outcome.error is None, outcome.error
    assert pickle.loads(outcome.collected or b"") == (TABLE.column_names, 0)


def test_a_wrong_number_of_tables_is_said_in_the_users_words(train: Run, tmp_path: Path) -> None:
    outcome = train("def train():\n  pass\n", fds=[ipc(tmp_path, TABLE)], message={"tables": [{"name": "sales"}]})
    assert outcome.error is not None
    assert "train() can't be called with 1 input table(s) (sales)" in outcome.error.value
    assert outcome.error.traceback == ""


def test_files_metrics_and_modules_come_along(train: Run) -> None:
    source = """
from shapes import area
import json, os
def train():
    os.makedirs('deep/er')
    open('deep/er/words.txt', 'w').write('hi')
    json.dump({'rmse': 1.5}, open('metrics.json', 'w'))
    open('metrics.jsonl', 'w').write('{"step": 1, "loss": 2.0}\\n{"step": 2, "loss": 1.0}\\n')
    return area(2)
"""

    def collect(guest: Guest, result: dict[str, Any]) -> list[str]:
        return [file.name for file in guest.files()]

    outcome = train(source, message={"modules": {"shapes": "def area(x): return x * x"}}, collect=collect)
    assert outcome.error is None, outcome.error
    assert outcome.collected == ["deep/er/words.txt", "metrics.json", "metrics.jsonl"]
    assert outcome.result is not None
    assert outcome.result["metrics"] == {
        "final": {"rmse": 1.5}, "steps": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}],
    }  # fmt: skip


def test_metrics_that_are_none_are_said_on_stderr_and_do_not_fail_the_training(train: Run) -> None:
    heard: list[str] = []
    source = "def train():\n  open('metrics.json', 'w').write('[1]')\n"
    outcome = train(source, on_output=lambda _, text: heard.append(text))
    assert outcome.error is None
    assert "metrics.json was not read as metrics" in "".join(heard)


def test_classes_and_lambdas_of_the_source_can_be_returned(train: Run) -> None:
    source = "class M:\n  def __init__(self): self.f = lambda x: x + 1\ndef train():\n  return M()\n"
    assert train(source).error is None


def test_worker_processes_find_the_users_functions(train: Run) -> None:
    source = """
import multiprocessing
def double(x): return 2 * x
def train():
    with multiprocessing.get_context('spawn').Pool(2) as pool:
        first = pool.map(double, [1, 2])
    import joblib
    return first, joblib.Parallel(n_jobs=2)(joblib.delayed(double)(x) for x in (3, 4))
"""
    outcome = train(source, cores=2, memory_gib=2)
    assert outcome.error is None, outcome.error
    assert pickle.loads(outcome.collected or b"") == ([2, 4], [6, 8])


def test_a_traceback_shows_the_users_lines_and_no_path_of_the_host(train: Run) -> None:
    source = "import json\ndef train():\n  return helper('{')\n\ndef helper(text):\n  return json.loads(text)\n"
    error = train(source).error
    assert error is not None
    assert (error.kind, error.type) == ("exception", "json.decoder.JSONDecodeError")
    assert "File \"model.py\", line 3, in train\n    return helper('{')" in error.traceback
    assert 'File "model.py", line 6, in helper' in error.traceback
    assert 'File "json/decoder.py"' in error.traceback
    assert "modelyard" not in error.traceback
    assert 'File "/' not in error.traceback


def test_causes_and_source_that_fails_on_import_are_told(train: Run) -> None:
    error = train("try:\n  1/0\nexcept ZeroDivisionError as e:\n  raise ValueError('worse') from e\n").error
    assert error is not None
    assert error.sentence == "ValueError: worse"
    assert "ZeroDivisionError: division by zero" in error.traceback
    assert "direct cause" in error.traceback
    broken = train("def train(:\n").error
    assert broken is not None
    assert broken.type == "SyntaxError"
    assert 'File "model.py", line 1' in broken.traceback


EXCEPTIONS = {
    "text that raises": "class E(Exception):\n  def __str__(self): raise SystemExit(3)\ndef train(): raise E()",
    "huge text": "def train(): raise ValueError('x' * 10**8)",
    "deep recursion": "def train(): train()",
    "keyboard": "def train(): raise KeyboardInterrupt()",
    "odd class": "class M(type):\n  @property\n  def __qualname__(c): raise OSError\n"
    "class E(Exception, metaclass=M): pass\ndef train(): raise E()",
    "group": "def train(): raise ExceptionGroup('g', [ValueError('a'), TypeError('b')])",
    "memory": "def train(): raise BaseException('base')",
}


@pytest.mark.parametrize("what", EXCEPTIONS)
def test_odd_exceptions_are_told_all_the_same(train: Run, what: str) -> None:
    error = train(EXCEPTIONS[what]).error
    assert error is not None
    assert error.kind == "exception"
    assert len(error.value) < 20_000
    assert len(error.traceback) < 200_000


ENDINGS = {
    "sys.exit(0)": ("import sys\ndef train(): sys.exit(0)", "exit", "sys.exit(0)"),
    "os._exit": ("import os\ndef train(): os._exit(7)", "exit", "status 7"),
    "os._exit(0)": ("import os\ndef train(): os._exit(0)", "exit", "status 0"),
    "segfault": ("import ctypes\ndef train(): ctypes.string_at(0)", "signal", "SIGSEGV"),
    "abort": ("import os\ndef train(): os.abort()", "signal", "SIGABRT"),
    "memory": ("def train(): x = [bytearray(10**7) for _ in range(1000)]", "memory", "0.25 GiB"),
    "array too large": ("import numpy\ndef train(): numpy.ones(10**15)", "memory", "0.25 GiB"),
    "time": ("def train():\n  while True: pass", "timeout", "1.5 seconds"),
    "lock": ("import threading\ndef train(): return threading.Lock()", "unpicklable", "lock"),
    "generator": ("def train(): return (x for x in [1])", "unpicklable", "generator"),
    "reduce": ("class A:\n  def __reduce__(s): raise OSError('no')\ndef train(): return A()", "unpicklable", "A"),
    "closed socket": ("import os\ndef train(): os.close(3)", "exit", "status 70"),
    "all closed": ("import os, time\ndef train(): os.closerange(0, 100); time.sleep(30)", "protocol", "closed"),
    "garbage": ("import os, time\ndef train(): os.write(3, b'x' * 9999); time.sleep(30)", "protocol", "disturbed"),
    "false answer": (
        (
            "import os, time, json, struct\ndef train():\n  b = json.dumps({'event': 'reply'}).encode()\n"
            "  os.write(3, struct.pack('!I', len(b)) + b); time.sleep(30)"
        ), "protocol", "disturbed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", ENDINGS)
def test_each_way_to_end_is_told_in_a_sentence(train: Run, what: str) -> None:
    source, kind, words = ENDINGS[what]
    begin = time.monotonic()
    error = train(source, timeout_s=1.5 if what == "time" else 20, memory_gib=0.25).error
    assert error is not None
    assert (error.kind, words in error.value) == (kind, True), error
    assert time.monotonic() - begin < 28


def test_a_cancelled_run_stops_at_once(train: Run) -> None:
    cancelled = threading.Event()
    threading.Timer(1.0, cancelled.set).start()
    begin = time.monotonic()
    error = train("import time\ndef train(): time.sleep(60)", cancelled=cancelled).error
    assert error is not None
    assert error.kind == "cancelled"
    assert time.monotonic() - begin < 30


def test_streams_that_user_code_replaced_do_not_stop_the_answer(train: Run) -> None:
    source = "import sys\ndef train():\n  sys.stdout.close(); sys.stderr = None; sys.stdout = object()\n  return 1\n"
    assert train(source).error is None


def test_a_million_lines_arrive_in_order_and_in_good_time(train: Run) -> None:
    count = 0
    last = ""

    def listen(stream: str, text: str) -> None:
        nonlocal count, last
        count += len(text)
        last = text[-20:]

    source = (
        "import sys\ndef train():\n  line = 'x' * 1023 + '\\n'\n"
        "  for i in range(300): sys.stdout.write(line * 1000)\n  print('end')\n"
    )
    begin = time.monotonic()
    assert train(source, on_output=listen).error is None
    assert count == 300 * 1000 * 1024 + 4
    assert last.endswith("end\n")
    assert time.monotonic() - begin < 60


def test_a_listener_that_fails_fails_the_run(train: Run) -> None:
    def listen(stream: str, text: str) -> None:
        raise OSError("the log is full")

    with pytest.raises(OSError, match="the log is full"):
        train("def train(): print('x')", on_output=listen)


def test_metrics_survive_the_trip_as_numbers(train: Run) -> None:
    outcome = train("import json\ndef train(): json.dump({'a': 1, 'b': 0.1}, open('metrics.json', 'w'))")
    assert outcome.result is not None
    assert json.dumps(outcome.result["metrics"]["final"]) == '{"a": 1, "b": 0.1}'
