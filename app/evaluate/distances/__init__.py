"""Distances that are learned from what came of an agent's moments."""
