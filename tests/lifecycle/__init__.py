"""Tests that run the steps of the pages about backups, upgrades, several hosts and trouble; all are marked ``slow``."""
