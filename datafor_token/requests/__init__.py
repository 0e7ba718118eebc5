"""Request bodies and queries: parsing of forms and JSON, and schemas that check the fields of each call."""
