"""Keys, secrets, and their encryption at rest."""
