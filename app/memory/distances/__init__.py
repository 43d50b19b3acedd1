"""Searches by a learned distance."""
