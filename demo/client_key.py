"""The API key that the demo, the bench and the load tests send.

It comes from the environment, never from the command line, which every user of the machine can
read. Imports nothing of the project: the image of the load test holds only a part of it.
"""

import os

VARIABLE = "MEMORY_API_KEY"


def key_headers() -> dict[str, str]:
    """Return the header with the key; none without a key."""
    key = os.environ.get(VARIABLE)
    return {"Authorization": f"Bearer {key}"} if key else {}
