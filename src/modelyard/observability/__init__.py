"""Observability: what deployments were asked and how they answered, for those who run them.

Nothing here is on a prediction's way. The lane counts each call in memory (`deployments/calls/tally.py`) and hands a
sample of them to a ring; a thread of the gateway (`logbook.py`) writes both to the database once a second, each gateway
its own rows. `statistics.py` adds those up, `prediction_logs.py` reads single calls back, `expiring.py` lets old rows
go. Below stand deployments (what is observed); above stand upkeep, which calls `expiring`, and `api`.
"""
