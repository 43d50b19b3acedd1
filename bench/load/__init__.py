"""Load generators: wrk, and lean clients in Python."""
