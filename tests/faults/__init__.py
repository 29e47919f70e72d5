"""Faults that are made on purpose: FAULTS=short tries a few of each kind, FAULTS=whole all.

A package, so that its conftest.py and that of tests/ don't get in each other's way: modules are
`faults.harness` and so on.
"""

import os


def repetitions(short, whole):
    """How often something is tried."""
    return {"short": short, "whole": whole}[os.environ.get("FAULTS", "short")]
