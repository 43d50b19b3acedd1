"""What the client reads from a service that is not ready."""

import pytest

from coinswarm_memory.operations import service
from coinswarm_memory.operations.request import Reply

BUSY = b'{"status":"not_ready","parts":{"master":{"status":"failed"},"index":{"dimension":8}}}'


@pytest.mark.parametrize(("body", "dimension"), [(BUSY, 8), (b"<html>try later</html>", None)])
def test_a_service_that_is_not_ready_still_tells_its_dimension(
    body: bytes, dimension: int | None
) -> None:
    asked = service.dimension()
    assert 503 in asked.answered_by
    assert asked.parse(Reply(503, {}, body)) == dimension
