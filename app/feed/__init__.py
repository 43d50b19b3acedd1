"""What changed in an agent's memory: a snapshot, and the feed that keeps a copy of it current."""
