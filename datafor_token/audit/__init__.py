"""Audit log: events, the file, and reading it again."""
