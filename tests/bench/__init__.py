"""Benchmarks. No test depends on a measured figure."""
