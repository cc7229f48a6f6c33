"""Bytes and tables at rest: `blobs.py` keeps bytes by sha256, `tables.py` says what a table version is made of.

Neighbours: every slice that keeps something large. Nothing here opens what it stores.
"""

from modelyard.storage.blobs import Blob, BlobStore
from modelyard.storage.tables import Table, TableColumn, TablePart

__all__ = ["Blob", "BlobStore", "Table", "TableColumn", "TablePart"]
