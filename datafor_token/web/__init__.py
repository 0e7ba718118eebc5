"""Flask: who is calling, what a request needs, and how responses are made."""
