"""A study: a typed plan of runs, its ledger, and what works through it, here or on a cluster.

Import from the files: a command loads only what it needs.
"""
