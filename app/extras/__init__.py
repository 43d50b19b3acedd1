"""Packages that only some requests need."""
