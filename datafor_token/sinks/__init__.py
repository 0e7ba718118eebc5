"""Sinks, which get a copy of each line of the audit log: syslog, standard output, and a webhook."""
