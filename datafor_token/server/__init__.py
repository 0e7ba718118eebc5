"""Worker for gunicorn, which serves any WSGI application."""
