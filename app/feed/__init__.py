"""The change feed: a snapshot of an agent's memory, and the changes that keep a copy of it
current."""
