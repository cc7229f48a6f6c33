"""Python models: what a user registers, how it changes, how it is trained, and every version that ever was.

A **model** is a name and a head. Each accepted change makes a new immutable **revision** (source, function names,
tables, requirements, sizes, config, who, when); the head is the newest one. A **version** is one training: it pins the
revision, the lock of its environment, the versions of its tables, its config and the runtime, and keeps what `train`
returned.

    version:  PENDING -> TRAINING -> COMPLETE | FAILED        (records.TRANSITIONS)

Reading order: `records.py`, `definition.py` (what a revision says, merged and checked), `revisions.py` (kept),
`retrain.py` (a version and its run on the table), `training.py` and `runs.py` (the agent's side), `versions.py` (what
deployments and batch predictions ask), `describe.py` and `wire.py` (what callers see), `actions.py` (the verbs). Rooms
of their own: `history` (revisions told and compared), `code` (of several files), `dry_runs`, `reproduction`, `exports`,
`importance` (of the columns).
Neighbours: below, source_code checks, environments builds, feature_groups gives tables; above, deployments and
batch_predictions take versions through `versions.deployable`, and write down here what they stand on.
"""
