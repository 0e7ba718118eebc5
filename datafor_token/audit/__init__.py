"""Audit log: its events, its file, and searches in it."""
