"""Rules for text from outside: names, addresses, JSON, log lines."""
