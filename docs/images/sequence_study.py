"""The pictures of docs/sequence-study.md, from generated data: `python docs/images/sequence_study.py`, at the root."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from attrib.io import save_motifs  # noqa: E402
from attrib.workflows.sequence import Search, sequence  # noqa: E402
from tests.jaspar import database  # noqa: E402
from tests.planted import Planted, fasta, planted, trained  # noqa: E402

HERE = Path(__file__).parent


def main() -> None:
    """Train, study sequences with both motifs, and keep two of the pictures."""
    data = planted(400, 1)
    both = np.flatnonzero(data.labels.all(1))[:80]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "a.fa").write_text(fasta(Planted(*(v[both] for v in data))))
        save_motifs(database(), folder / "known.meme")
        done = sequence(
            folder / "a.fa",
            trained(),
            folder / "out",
            search=Search(motifs=folder / "known.meme"),
            target="0",
            pictures=1,
        )
        record = next((done / "records").glob("*.png"))
        shutil.copy(record, HERE / "sequence-study-record.png")
        shutil.copy(done / "seqlet_motifs.png", HERE / "sequence-study-motifs.png")


if __name__ == "__main__":
    main()
