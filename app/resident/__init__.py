"""Copies of partitions in the service's own memory."""
