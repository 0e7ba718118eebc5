"""Stores of records: the protocol, in files, and in SQL databases."""
