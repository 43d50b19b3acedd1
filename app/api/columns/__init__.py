"""Experiences as Arrow columns instead of JSON: in answers and in batches."""
