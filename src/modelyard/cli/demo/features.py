"""A Python feature group: what an engineer would look at in a mix of concrete."""

import numpy as np
import pandas as pd


def mixes(concrete: pd.DataFrame) -> pd.DataFrame:
    """The table with three more columns: water per binder, all binder, and the logarithm of the age."""
    table = concrete.copy()
    table["binder"] = table["cement"] + table["slag"] + table["flyash"]
    table["waterperbinder"] = table["water"] / table["binder"]
    table["logage"] = np.log1p(table["age"].astype(float))
    return table
