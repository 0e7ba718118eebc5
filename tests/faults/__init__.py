"""Fault injection: failing system calls, full disks, killed processes, power loss.

``python -m tests.faults`` (``make faults``) runs all checks and prints one table; ``--short`` is for CI. Each check
also runs against a store with a deliberate bug, and must detect it. A check that needs root or a tool that is not
installed is printed as not run, never as passed.
"""
