"""Datasets: bytes that arrive, by upload or from a location, become versions of a table.

An upload is PENDING while parts arrive and COMPLETE once its parts are the version's; a version is then PENDING until
an agent takes its run, IMPORTING while a guest reads the bytes, and COMPLETE or FAILED in the end. A failed import is
data: its sentence says which row or column was wrong. `creating.py` and `uploading.py` are the caller's half, `runs.py`
and `importing.py` the agent's. Whoever stands on datasets (the feature groups) hears of them through `events.py`.
"""
