"""The door: the only room that knows HTTP.

`application.py` puts the routes together, `guard.py` refuses what no action should see (hosts, origins, sizes),
`decoding.py` merges query, JSON and form into one mapping, `door.py` authenticates, opens the transaction and calls the
action, `envelope.py` writes the answer. `lane.py` is the fast lane that predictions take past all of these,
`callers.py` knows who may. `serving.py` listens. `openapi.py` derives the OpenAPI document from the same table of
actions.
"""
