"""Text files, plain or gzip."""

import gzip
from pathlib import Path


def written(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path
