"""OpenAPI document of the API, assembled from the declarations that stand beside the views."""
