"""Refresh policies: what is made anew on a schedule, and the record of every time it was.

Refresh is blind: a policy is a cron, and targets by kind and id; what a kind means is told by the slices above, which
register a `Refreshable` each (`targets.py`). `scheduler.py` fires what is due, `runs.py` works the parts of one refresh
in order: datasets, feature groups, models, deployments, batch predictions, each after the one before has ended.

A refresh is PENDING, RUNNING, then COMPLETE or FAILED. A tick that was missed while no agent ran is made up for once.
"""
