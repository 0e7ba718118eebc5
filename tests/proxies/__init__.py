"""The shipped configurations of reverse proxies, run by the real programs."""
