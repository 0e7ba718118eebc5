"""Faults on purpose: system calls that fail, disks that are full, processes that are killed, power that goes.

``python -m tests.faults`` (``make faults``) runs them all and prints one table; ``--short`` is for CI. Each check is
also run against a store that is broken on purpose, and must catch it. What needs root or a tool that is not there is
printed as not run, never as passed.
"""
