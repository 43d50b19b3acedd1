"""Condenses many experiences into a few patterns."""
