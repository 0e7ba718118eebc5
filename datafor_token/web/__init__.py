"""Web application: authentication of callers, responses, the API and its description."""
