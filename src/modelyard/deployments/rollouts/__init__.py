"""Versions beside the one that answers: a canary takes a part of the calls, a shadow gets copies of them, a former one
waits in case it is wanted again.

Each is a row (`SideVersion`) and a serve run of its own. `sides.py` reads and ends them for the lifecycle below,
`steps.py` is what may happen to them, `actions.py` the verbs, `wire.py` what callers see. In the gateway `splitting.py`
says which call goes where and counts what came back.
"""
