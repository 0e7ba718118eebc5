"""Counts for limits, which all workers of a host share, and with a Redis several hosts."""
