"""OpenAPI document of the API, assembled from the declarations of the views."""
