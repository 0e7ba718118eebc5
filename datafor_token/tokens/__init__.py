"""Tokens: issuing, verifying, signing in, revoking."""
