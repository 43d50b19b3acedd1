"""Measures the service: it starts it, loads it, runs Locust's scenarios and writes the report.

`loadtest/` is what Locust runs (it imports every file in that folder as a scenario, which is why
this package stands beside it); `bench/` is what runs Locust.
"""
