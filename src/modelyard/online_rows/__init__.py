"""Rows online: tables whose rows are written one by one, found by key at once, and taken as a whole now and then.

A table belongs to a streaming dataset or an online feature group; those rooms know it by its id alone. `changes.py`
reads what a caller wants written, `writing.py` commits what several callers want at the same moment together,
`reading.py` finds rows and gives all of them as they stood at one moment, `retention.py` lets old ones go. Streaming
tokens (`tokens.py`) open writing to whoever holds no API key. A row that was acknowledged survives whatever is killed
when.
"""
