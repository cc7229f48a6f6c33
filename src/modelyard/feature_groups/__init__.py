"""Feature groups: tables by name, each with a definition, and the immutable versions made from it.

A definition is a dataset, a SQL statement over other feature groups, a Python function over them, rows that are written
one by one, or what a batch prediction left behind. Materialising makes a version: PENDING until an agent takes it,
GENERATING while it works, then COMPLETE with a table or FAILED with a reason; a version never changes after that.
`definition.py` is what a group is made from, `staleness.py` says what is out of date, `materialize.py` makes versions
in runs (models' runs call it too), `downloads.py` hands tables out as Avro, `lineage.py` knows what stands on a group,
`tables.py` finds groups. The kinds have rooms of their own: `queries`, `functions`, `recipes`, `online`; so have tables
that leave (`exports`) and what projects say of groups (`in_projects`).
Neighbours: below, `datasets` (whose events make groups); above, `models` and `batch_predictions`.
"""
