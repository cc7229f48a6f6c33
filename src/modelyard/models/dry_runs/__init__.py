"""What would happen if a model were told to be this: all stages in one guest, on a sample of rows."""
