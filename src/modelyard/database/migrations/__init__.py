"""Alembic's folder. `run.py` upgrades a database, `generate.py` writes a new revision from the records."""
