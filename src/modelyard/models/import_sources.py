"""How models that were trained elsewhere are served: a source for each format, which runs in guests as a user's does.

`imports.py` puts the config in front and keeps the whole as the revision's source. Formats that open without running
anything of theirs need no more; safetensors are numbers alone, so a predict source comes with them.
"""

HEAD = '''"""Serves an imported {format} model."""

import json
from pathlib import Path

CONFIG = json.loads({config!r})
FILE = {file!r}

'''

TABULAR = '''

def train():
    """Opens the file once, and tries the verifications that came with it."""
    opened = initialize(None)
    checks = Path("verifications.json")
    tried = json.loads(checks.read_text()) if checks.exists() else []
    for number, each in enumerate(tried, 1):
        found = _plain(predict(opened, each["input"]))
        if not _is_close(found, each["output"]):
            raise ValueError(f"verification {number} expects {each['output']!r}, and the model gives {found!r}")
    if tried:
        Path("metrics.json").write_text(json.dumps({"verifications": len(tried)}))
    print(f"features: {opened.features}")
    return {"format": CONFIG["format"], "features": opened.features}


def initialize(kept):
    return Opened()


def predict(model, query):
    import pandas as pd

    return model.run(pd.DataFrame([query]))[0]


def predict_many(model, queries):
    return model.run(queries)


def _chosen(rows, features):
    missing = [name for name in features if name not in rows.columns]
    if missing:
        raise ValueError(f"the query lacks the feature {missing[0]!r}; the model takes {', '.join(features)}")
    return rows[features]


def _plain(value):
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _is_close(found, wanted):
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(_is_close(found.get(name), each) for name, each in wanted.items())
    if isinstance(wanted, list):
        pairs = zip(found, wanted) if isinstance(found, list) and len(found) == len(wanted) else [(None, 0)]
        return all(_is_close(one, other) for one, other in pairs)
    if isinstance(wanted, int | float) and isinstance(found, int | float):
        return abs(found - wanted) <= 1e-4 * max(1.0, abs(wanted))
    return found == wanted
'''

ONNX = '''
class Opened:
    """One input for each feature, or one input of several columns."""

    TYPES = {
        "tensor(float)": "float32", "tensor(double)": "float64", "tensor(int64)": "int64", "tensor(int32)": "int32",
        "tensor(bool)": "bool", "tensor(string)": "str", "tensor(float16)": "float16",
    }

    def __init__(self):
        import onnxruntime

        self.session = onnxruntime.InferenceSession(FILE, providers=["CPUExecutionProvider"])
        self.inputs = self.session.get_inputs()
        self.outputs = [each.name for each in self.session.get_outputs()]
        named = self.session.get_modelmeta().custom_metadata_map.get("features")
        own = json.loads(named) if named else None
        several = [each.name for each in self.inputs] if len(self.inputs) > 1 else None
        self.features = CONFIG.get("features") or own or several

    def run(self, rows):
        found = self.session.run(None, self.feed(rows))
        return [{name: self.cell(column, at) for name, column in zip(self.outputs, found)} for at in range(len(rows))]

    def feed(self, rows):
        import numpy as np

        kinds = [self.TYPES.get(each.type, "float32") for each in self.inputs]
        if len(self.inputs) > 1:
            chosen = _chosen(rows, [each.name for each in self.inputs])
            return {
                each.name: chosen[each.name].to_numpy().astype(object if kind == "str" else kind).reshape(-1, 1)
                for each, kind in zip(self.inputs, kinds)
            }
        [only], [kind] = self.inputs, kinds
        if self.features is None and list(rows.columns) == [only.name]:
            return {only.name: np.stack([np.asarray(each) for each in rows[only.name]]).astype(kind)}
        return {only.name: _chosen(rows, self.features or list(rows.columns)).to_numpy().astype(kind)}

    @staticmethod
    def cell(column, at):
        value = column[at]
        return value.tolist() if hasattr(value, "tolist") else value

'''

XGBOOST = """
class Opened:
    def __init__(self):
        import xgboost

        self.booster = xgboost.Booster()
        self.booster.load_model(bytearray(Path(FILE).read_bytes()))
        self.features = CONFIG.get("features") or self.booster.feature_names

    def run(self, rows):
        import xgboost

        chosen = _chosen(rows, self.features or list(rows.columns))
        names = self.booster.feature_names
        matrix = xgboost.DMatrix(chosen.to_numpy(), feature_names=names)
        return self.booster.predict(matrix).tolist()

"""

LIGHTGBM = """
class Opened:
    def __init__(self):
        import lightgbm

        self.booster = lightgbm.Booster(model_file=FILE)
        self.features = CONFIG.get("features") or self.booster.feature_name()

    def run(self, rows):
        return self.booster.predict(_chosen(rows, self.features).to_numpy()).tolist()

"""

CATBOOST = """
class Opened:
    def __init__(self):
        import catboost

        self.model = catboost.CatBoost()
        self.model.load_model(FILE, format="cbm")
        self.features = CONFIG.get("features") or self.model.feature_names_

    def run(self, rows):
        given = {"prediction_type": CONFIG["predictionType"]} if CONFIG.get("predictionType") else {}
        return self.model.predict(_chosen(rows, self.features), **given).tolist()

"""

#: Stands after the predict source that came with the file.
WITH_SOURCE = '''

def modelyard_import():
    """Opens the file once."""
    modelyard_open(None)
    return {{"format": {format!r}}}


def modelyard_open(kept):
    """What the file holds, as the predict source wants it."""
{opening}
    prepare = globals().get({initialize!r})
    return prepare(content) if prepare else content
'''
OPENING = {
    "SAFETENSORS": """    from safetensors.numpy import load_file

    content = load_file({file!r})""",
    "PICKLE": """    import pickle

    with open({file!r}, "rb") as file:
        content = pickle.load(file)""",
}
