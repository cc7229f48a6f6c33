"""`modelyard demo`: the main job from end to end, by the official client, against a server of its own.

`command.py` is the command, `journey.py` the way (read it to see the client in use), `features.py`, `first_model.py`
and `second_model.py` the user's code that is sent as source and, for comparison, also called right here; `server.py`
runs a server on a temporary home, `telling.py` prints. `concrete.csv`: I-Cheng Yeh, "Modeling of strength of
high-performance concrete using artificial neural networks", 1998; 1,030 mixes and their strength.
"""
