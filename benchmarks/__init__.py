"""The figures of the documentation, each runnable by name: `python -m benchmarks predict`, or all by `make bench`.

`house.py` starts the platform as an operator would, `load.py` calls it, `measure.py` says what was found. Each other
file is one benchmark with a function `run`. Figures of one run are compared with each other and with a bare reference
measured in the same run; figures of two machines, or of two days, are not.
"""
