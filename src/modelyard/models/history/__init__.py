"""The revisions of a model: listed, described, compared, brought back."""
