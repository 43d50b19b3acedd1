"""Locust's scenarios. Run Locust in the repository's root: `locust -f loadtest/`."""
