"""Store in a SQL database."""
