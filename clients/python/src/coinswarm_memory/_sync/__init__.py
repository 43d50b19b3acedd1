"""The client for plain functions and threads. Generated, but for wire.py and lanes.py."""
