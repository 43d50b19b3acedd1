"""Requests and how their replies are read, without any input or output."""
