"""Figures, measured; nothing here decides whether a test passes."""
