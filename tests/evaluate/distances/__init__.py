"""Distances that are learned."""
