"""Rules for text from outside: names, addresses, times, JSON, and log lines."""
