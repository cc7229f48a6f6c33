"""Groups that are made from one other group by a recipe: samples, merges of versions, snapshots."""
