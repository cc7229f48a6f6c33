"""Code of several files: uploaded zips and commits of git repositories, unpacked and checked before they count."""
