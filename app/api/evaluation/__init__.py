"""Routes that evaluate memories and learn distances."""
