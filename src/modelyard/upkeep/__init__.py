"""Upkeep: what nobody needs any more goes, and one can see what is kept.

A janitor beside each agent lets old query results go, collects blobs that no row names, and takes environments and
twins of tables off the disk past their limits. `references.py` finds what is named, `collecting.py` removes the rest,
`expiring.py` says what is old, `environments.py` shows environments with who uses them. Stands above all rooms that
keep something, and asks their tables; none of them knows it.
"""
