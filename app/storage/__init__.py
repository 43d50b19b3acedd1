"""Memories in Redis as hashes and vector indexes. Nodes and connections are in app/nodes."""
