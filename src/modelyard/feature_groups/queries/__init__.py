"""SQL groups and queries that are run once: reading them, saying them in the engine's dialect."""
