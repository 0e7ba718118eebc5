"""Users: accounts, passwords, sessions, and the limit of failed sign-ins."""
