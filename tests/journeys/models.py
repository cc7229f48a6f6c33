"""A model that is written out, so that the same functions give the same numbers here and in a guest."""

import inspect

import numpy as np
import pandas as pd


def dry_mixes(concrete):  # type: ignore[no-untyped-def]  # user code, as a user writes it
    """Mixes with less water than cement, and how strong."""
    mixes = concrete[concrete["water"] < concrete["cement"]].copy()
    mixes["ratio"] = mixes["water"] / mixes["cement"]
    return mixes


def train(mixes):  # type: ignore[no-untyped-def]
    import numpy as np

    columns = [name for name in mixes.columns if name != "csMPa"]
    inputs = np.column_stack([mixes[columns].to_numpy(dtype=float), np.ones(len(mixes))])
    weights, *_ = np.linalg.lstsq(inputs, mixes["csMPa"].to_numpy(dtype=float), rcond=None)
    print(f"trained on {len(mixes)} mixes")
    return columns, [float(weight) for weight in weights]


def predict(model, query):  # type: ignore[no-untyped-def]
    columns, weights = model
    strength = sum(query[name] * weight for name, weight in zip(columns, weights, strict=False)) + weights[-1]
    return {"csMPa": round(strength, 6)}


def predict_times_two(model, query):  # type: ignore[no-untyped-def]
    columns, weights = model
    strength = sum(query[name] * weight for name, weight in zip(columns, weights, strict=False)) + weights[-1]
    return {"csMPa": round(2 * strength, 6)}


SOURCE = "\n\n".join(inspect.getsource(function) for function in (train, predict))
DOUBLED = "\n\n".join(inspect.getsource(function) for function in (train, predict_times_two))


def concrete(rows: int = 400) -> pd.DataFrame:
    """A table like that of the strength of concrete, made from a fixed seed."""
    random = np.random.default_rng(7)
    names = ["cement", "slag", "water", "age"]
    table = pd.DataFrame({name: random.uniform(1, 500, rows).round(3) for name in names})
    table["csMPa"] = (0.1 * table["cement"] - 0.05 * table["water"] + random.normal(0, 1, rows)).round(4)
    return table
