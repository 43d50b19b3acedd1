"""Agents moved between groups while they work, and the list of groups changed."""
