"""Versions as exact things: how one was made, made again from just that, and compared."""
