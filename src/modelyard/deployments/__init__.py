"""Deployments: versions of models and of feature groups put to work, behind predictions and look-ups of rows.

A deployment is PENDING until an agent takes its serve run, DEPLOYING while replicas start, then ACTIVE; STOPPED or
FAILED end that (`records.DeploymentStatus`). `replicas` is the agent's side: a long-lived run for each deployment and
version that keeps replicas alive and, when they are ready, switches the deployment over. `calls` is the gateway's side,
`rollouts` what stands beside the version that answers. `options.py` says what may be set for one deployment,
`servable.py` what a replica is started with, `tables.py` what of a feature group can be looked up, `lookups.py` what a
look-up asks. Below stand models and feature_groups (what is served) and the sandbox (where); above stand batch
predictions and `api.lane`, which speaks HTTP for `calls`.
"""
