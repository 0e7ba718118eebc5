"""Worker for gunicorn."""
