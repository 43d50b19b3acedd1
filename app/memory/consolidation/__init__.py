"""From many experiences to few patterns."""
