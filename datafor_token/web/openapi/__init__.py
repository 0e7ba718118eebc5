"""The API description: ``document`` puts it together, ``calls`` has an entry for each call."""
