"""Groups that are made by Python functions: reading and checking the code, what it is called with, what it is now."""
