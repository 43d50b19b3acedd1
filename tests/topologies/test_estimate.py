"""The tests of tests/api/test_estimate.py over every topology, each with a service of its own.

What they ask about does not bring back an index that vanished behind a service's back.
"""

import httpx
import pytest

from tests.api.test_estimate import *  # noqa: F403


@pytest.fixture
def api(fresh_api: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client of a fresh service on empty nodes."""
    return fresh_api
