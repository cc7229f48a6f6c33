"""Groups whose rows are written one by one: where they go, and how a version is made of all of them."""
