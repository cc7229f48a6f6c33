"""Batch predictions: a table in, predictions out; defined once for a deployment, started as often as one likes.

A **batch prediction** says which rows (the first table that the model was trained on, another feature group, or the
same definitions over other datasets), with which arguments, and in which form the result is wanted. Each start makes
a **version**: it pins that definition and the model version that the deployment has at that moment.

    version:  PENDING -> PREDICTING -> COMPLETE | FAILED        (records.TRANSITIONS)

Reading order: `definition.py` (what a batch prediction says), `records.py`, `starting.py` (a version and its run on the
table), `runs.py`, `inputs.py`, `predicting.py` and `results.py` (the agent's side), `describe.py` and `wire.py` (what
callers see), `actions.py` (the verbs).
Neighbours: below, deployments name the model version, models say how it is brought to life, feature_groups give the
rows; refresh starts versions on a schedule. Nothing stands above.
"""
