"""Tables written out: to files, buckets and databases, or for download, by runs of their own."""
