"""Request bodies: from bytes to checked values."""
