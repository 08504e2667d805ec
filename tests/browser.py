"""The pages of studies, opened in Chromium without a window; tests skip without it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def held(page: str) -> list[dict[str, Any]]:
    """The data of a page's browsers of samples."""
    found = re.findall(r'<script type="application/json" class="data">(.*?)</script>', page, re.DOTALL)
    return [json.loads(text) for text in found]


def opened(page: Path, script: str = "", anchor: str = "") -> str:
    """The document after a script has run in the page; errors of scripts are in its `data-error`."""
    program = next((p for p in map(shutil.which, NAMES) if p), None)
    if program is None:
        pytest.skip(f"needs one of {', '.join(NAMES)}, such as Debian's chromium")
    watch = '<script>window.onerror = (m, f, line) => { document.documentElement.dataset.error = m + " " + line; };</script>'
    text = page.read_text(encoding="utf-8").replace("<style>", watch + "<style>", 1)
    copy = page.with_name("opened.html")
    copy.write_text(text + f"<script>{script}</script>", encoding="utf-8")
    try:
        done = subprocess.run(
            [program, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom", copy.as_uri() + anchor],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    finally:
        copy.unlink()
    assert "data-error" not in done.stdout.split("<head>")[0], done.stdout[:200]
    return done.stdout
