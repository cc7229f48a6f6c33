"""Deployments: versions of models and of feature groups put to work, behind predictions and look-ups of rows.

A deployment is PENDING until an agent takes its serve run, DEPLOYING while replicas start, then ACTIVE; STOPPED or
FAILED end that (`records.DeploymentStatus`). `replicas` is the agent's side: a long-lived run for each deployment and
version that keeps replicas alive and, when they are ready, switches the deployment over. `routing.py` is the
gateway's side: tokens, deployments and ready replicas in memory; `dispatch.py` keeps a `line.py` of calls for each
deployment, which `connection.py` carries to the replicas, one multiplexed Unix connection each; `waiting_room.py` keeps
those that find no replica, `batching.py` joins some. `options.py` says what may be set for one deployment, `rollouts`
what stands beside the version that answers. `servable.py` says what a replica is started with, `tables.py` what of a
feature group can be looked up, `lookups.py` what a look-up asks, `asking.py` which way a call goes. Below stand models
and feature_groups (what is served) and the sandbox (where); above stand batch predictions and `api.lane`, which speaks
HTTP for `dispatch`.
"""
