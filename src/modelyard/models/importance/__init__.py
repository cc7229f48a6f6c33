"""How much a version's predictions hang on each column: asked for, measured in a guest, kept."""
