"""The gateway's side: from a call to the replica that answers it, all in memory.

`routing.py` reads which tokens, deployments and ready replicas there are; `dispatch.py` keeps a `line.py` of calls for
each deployment, which `connection.py` carries to the replicas, one multiplexed Unix connection each, in the frames of
`frames.py`. `waiting_room.py` keeps calls that find no replica, `batching.py` joins some, `asking.py` says which way a
call goes, `rates.py` how many there may be, `tally.py` and `sampling.py` what is written down of them.
"""
