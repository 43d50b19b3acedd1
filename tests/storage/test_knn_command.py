"""The bytes that are kept and put together are those that redis-py would have sent."""

import hiredis
import pytest

from app.storage.search import KnnShape, packed

SHAPES = [
    KnnShape("i:{a}", "*", "[KNN 1 @v $vector AS distance]", ("record", "distance"), 1, 1000),
    KnnShape("i:{ä b}", "(@t:{x\\-1})", "[KNN 200 @v $vector]", ("record", "v", "n"), 200, 50),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("vector", [b"\r\n$5\r\n\x00\xff*3", b"\x01" * 1024])
def test_packed_is_what_the_words_pack_to(shape: KnnShape, vector: bytes) -> None:
    words = shape.words(vector)
    assert words[0] == "FT.SEARCH"
    assert words.count(vector) == 1
    for _ in range(2):  # made, then kept
        assert packed(shape, vector) == hiredis.pack_command(tuple(words))  # type: ignore[arg-type]
