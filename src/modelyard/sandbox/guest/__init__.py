"""What runs inside the walls, in the Python of the user's environment: standard library alone at import time.

`boot` gives up every right, imports the base packages and waits on the socket; `tasks` names what a guest can be asked
to do. Packages such as pandas belong to the environment and are imported inside functions only.
"""
