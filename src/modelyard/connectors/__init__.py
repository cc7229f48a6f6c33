"""The ways out to foreign data. Today there is one: files below folders that the operator has named (`file_roots`).

`locations.py` turns what a caller wrote into an open file, or into a refusal. Neighbours: `datasets` imports from here.
"""
