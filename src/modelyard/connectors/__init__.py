"""The ways out to foreign data and code: file, database and application connectors, each of one organisation.

A file connector opens a bucket (S3, GCS, Azure), a database connector a database, an application connector a git
repository. `records.py` keeps what is public of them in the clear and the rest encrypted (`secrets.py`); a secret
leaves this room only towards the service that it opens. `locations.py` is the one interface to files, `databases.py`
and `questions.py` that to rows. Every connection goes through `egress.py`, which resolves a name, judges the address
and connects to that address; libraries that connect by themselves go through `tunnel.py`, which does so for them.
`uses.py` is where the rooms above write down what they read through a connector, so that it is not deleted under them.
"""
