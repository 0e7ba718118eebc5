"""The command ``datafor-token``, one module per group."""
