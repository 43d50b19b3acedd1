"""Which way a file is written: by its name when it is made, by its first bytes when it is read."""

from collections.abc import Iterator
from pathlib import Path

from app.errors import TransferRefused, UnfitFile
from app.storage.whole_hash import WholeHash
from app.transfer import ndjson_file, parquet_file
from app.transfer.file_format import Header


def is_parquet_name(path: Path) -> bool:
    """Whether an export under this name is Parquet; everything else is NDJSON."""
    return path.suffix == ".parquet"


def require_known_name(path: Path) -> None:
    """Raise TransferRefused for a name that says another format than an export can have."""
    name = path.name
    known = (".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz", ".parquet")
    if "." in name.strip(".") and not name.endswith(known):
        raise TransferRefused(
            f"An export is NDJSON or Parquet, and {name} says neither: end its name in .ndjson, "
            ".ndjson.gz or .parquet."
        )


def is_gzip_name(path: Path) -> bool:
    """Whether an export under this name is compressed."""
    return path.suffix == ".gz"


def read_header(path: Path) -> Header:
    """The header of an export. Raises UnfitFile, ExtraMissing."""
    return parquet_file.read_header(path) if _is_parquet(path) else ndjson_file.read_header(path)


def read_rows(path: Path) -> Iterator[WholeHash]:
    """Each row of an export, checked against its end after the last one. Raises UnfitFile."""
    return parquet_file.read_rows(path) if _is_parquet(path) else ndjson_file.read_rows(path)


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(parquet_file.MAGIC)) == parquet_file.MAGIC
    except OSError as error:
        raise UnfitFile(f"{path} cannot be read ({error.strerror}): check its name.") from error
