"""Modelyard: a self-hosted platform for Python models that speaks the Abacus.AI API.

The rooms, and which way the arrows between them run, are described in `docs/00-overview.md`.
`app.py` puts the house together; every other room is named after what it keeps.
"""

__version__ = "0.1.0"
