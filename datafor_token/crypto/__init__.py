"""Keys and secrets, and their encryption at rest."""
