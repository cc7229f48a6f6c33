"""Groups within projects: which a project uses, and what their columns are there."""
