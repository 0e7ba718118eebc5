"""Keys of identity providers: fetched from their URLs, stored, and used while a provider is away."""
