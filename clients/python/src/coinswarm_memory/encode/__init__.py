"""Turns callers' data into what the service reads: vectors, times, rows."""
