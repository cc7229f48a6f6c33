"""Source code that users hand in: checked before anything is stored, and never imported or run here.

It keeps what is shared, too: **modules**, which all code of an organisation may import, and **Python functions**, which
feature groups are made by (`records.py`, `modules.py`, `python_functions.py`, `variables.py`, `actions.py`). A change
makes an immutable revision. `pins.py` says which modules a source needs and exactly what they held, `users.py` what
stands on what.

`check.py` is the part that the rest of the house holds: it answers "can this source do what it is registered for?"
with a report, or raises ConflictError. The looking itself is done by `examine.py` in a resident process of its own
(`resident.py` starts, limits and replaces it; `frames.py` is what the two say to each other), because the parser, the
compiler and the linter are C and recursive code that hostile input can blow up.
Inside that process: `parsing.py` (does it compile), `statements.py` (where a statement stands), `functions.py` and
`signatures.py` (the named functions and how they may be called), `names.py` (undefined names), `imports.py` (what the
environment must provide), `exports.py` (what a module defines), with the curated knowledge of `distributions.py` and
`idioms.py`. `requirements.py` reads the requirement strings that come with a source.

Neighbours: models and feature_groups hand in sources; environments builds what the report's requirements name.
"""
