"""Where records are kept: ``base`` says what a store is, ``files`` is the one that comes with the service."""
