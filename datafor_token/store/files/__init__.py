"""Store in files: one JSON file for each record."""
