"""Trained versions as zips that run anywhere."""
