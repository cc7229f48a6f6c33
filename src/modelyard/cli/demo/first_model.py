"""A first model: strength as a linear function of the mix, by least squares."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

INPUTS = ["cement", "slag", "flyash", "water", "superplasticizer", "coarseaggregate", "fineaggregate", "age"]
TARGET = "csMPa"
Array = np.ndarray[Any, Any]


def train(mixes: pd.DataFrame) -> Array:
    """One weight an input, and one for the constant."""
    inputs = mixes[INPUTS].to_numpy(dtype=float)
    target = mixes[TARGET].to_numpy(dtype=float)
    design = np.column_stack([inputs, np.ones(len(inputs))])
    weights = np.linalg.lstsq(design, target, rcond=None)[0]
    error = float(np.sqrt(np.mean((design @ weights - target) ** 2)))
    Path("metrics.json").write_text(json.dumps({"rmse": error}))
    print(f"least squares over {len(mixes)} mixes: {error:.2f} MPa off on average")
    return np.asarray(weights)


def predict(weights: Array, query: dict[str, Any]) -> dict[str, Any]:
    """The strength of one mix in MPa."""
    mix = np.array([float(query[name]) for name in INPUTS])
    return {"strength": float(mix @ weights[:-1] + weights[-1])}


def predict_many(weights: Array, queries: pd.DataFrame) -> list[dict[str, float]]:
    """The strengths of many mixes, in their order."""
    strengths = queries[INPUTS].to_numpy(dtype=float) @ weights[:-1] + weights[-1]
    return [{"strength": float(each)} for each in strengths]
