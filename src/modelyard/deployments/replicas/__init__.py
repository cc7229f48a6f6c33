"""The agent's side of a deployment: a serve run at work, and the replicas that it keeps alive.

`serving.py` is the run: one version served for one deployment, from its first replica to its last. `scaling.py` says
how many there are to be, by what gateways report (`reports.py`). `keeper.py` keeps one alive, `replica.py` starts it as
a guest, `sockets.py` says where it listens.
"""
