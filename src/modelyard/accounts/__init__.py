"""Who calls: organisations, their users with a role each, and the API keys that stand for users.

Everything else in the house belongs to exactly one organisation, and an id of another one answers like an unknown id.
`keys.py` makes, checks and revokes keys; `policy.py` says which role may call what; `first_run.py` makes the first
organisation, user and key when the house is opened for the first time.
"""
