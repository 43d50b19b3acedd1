"""Experiences that left the memory, which only questions as of an earlier moment find."""
