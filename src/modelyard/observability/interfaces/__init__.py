"""How each deployment wants to be asked: its inputs with their types, its result, and examples that can be pasted.

Nothing of the user's is run for it. Names and types come from three places that are there anyway: the source of the
predict function, read as a syntax tree by the checker's process; the columns of the tables that the version was trained
on; and the calls in the prediction log. `assembling.py` puts them together, `inferring.py` finds types, `examples.py`
writes the calls out, `openapi.py` makes an OpenAPI document of it.
"""
