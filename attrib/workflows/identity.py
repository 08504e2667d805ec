"""Whether a model, or a file, is the one of an earlier run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from attrib.engine.model.parameters import weights


def digest(model: Callable[..., Any]) -> str:
    """A short digest of the weights of a module or function; empty if it has none that Python can see."""
    sha256 = hashlib.sha256()
    count = 0
    for value in weights(model):
        sha256.update(str(tuple(value.shape)).encode())
        sha256.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        count += 1
    return sha256.hexdigest()[:20] if count else ""


def fingerprint(file: Path) -> str:
    """A short digest of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def stamp(*paths: Path | None) -> str:
    """Sizes and times of files, by which a change is noticed."""
    facts = [path.stat() for path in paths if path is not None]
    return " ".join(f"{f.st_size} {f.st_mtime_ns}" for f in facts)
