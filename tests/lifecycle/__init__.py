"""Tests that run the steps of the pages about backups, several hosts and trouble."""
