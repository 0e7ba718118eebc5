"""Forward authentication: sign-in for pages behind a reverse proxy."""
