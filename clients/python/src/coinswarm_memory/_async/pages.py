"""All experiences of a query, read page by page."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from coinswarm_memory._async.caller import AsyncCaller
from coinswarm_memory.answers import Experience
from coinswarm_memory.answers.tables import to_arrow, to_pandas
from coinswarm_memory.operations import episodic
from coinswarm_memory.operations.episodic import Page

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class AsyncPages:
    """The experiences that match a query. Each loop over it asks again."""

    def __init__(self, caller: AsyncCaller, wanted: dict[str, Any]) -> None:
        self._caller = caller
        self._wanted = wanted

    async def pages(self) -> AsyncIterator[Page]:
        """Go through the pages, each with the `total` that matched."""
        wanted = self._wanted
        while True:
            page = await self._caller.call(episodic.query(wanted))
            yield page
            if page.next_cursor is None:
                return
            wanted = {**self._wanted, "cursor": page.next_cursor}

    async def __aiter__(self) -> AsyncIterator[Experience]:
        async for page in self.pages():
            for experience in page.memories:
                yield experience

    async def all(self) -> list[Experience]:
        """Return all of them."""
        return [experience async for experience in self]

    async def to_pandas(self) -> "pd.DataFrame":
        """Return all of them as a data frame. Raises PackageMissing."""
        return to_pandas(await self.all())

    async def to_arrow(self) -> "pa.Table":
        """Return all of them as an Arrow table. Raises PackageMissing."""
        return to_arrow(await self.all())
