"""Readers of files that were damaged at random: an error that a person can read, or the content; never a crash.

A few damages by default; for ten minutes of them: ``ATTRIB_FUZZ_SECONDS=600 pytest tests/test_fuzz_readers.py``.
"""

import gzip
import os
import random
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attrib.domains.sequences import read_bed, read_fasta, read_table, read_vcf
from attrib.io import load_motifs, read
from attrib.workflows.fcgr.pairs import read_pairs

SECONDS = float(os.environ.get("ATTRIB_FUZZ_SECONDS", "0"))
TIMES = 40
MEME = (
    "MEME version 4\n\nALPHABET= ACGT\n\nMOTIF a b\nletter-probability matrix: alength= 4 w= 2 nsites= 20 E= 0\n"
    + "0.1 0.2 0.3 0.4\n" * 2
)
JASPAR = ">a b\nA [ 0 3 ]\nC [ 9 7 ]\nG [ 1 0 ]\nT [ 0 0 ]\n>c\nA [ 0 3 ]\nC [ 9 7 ]\nG [ 1 0 ]\nT [ 0 0 ]\n"
TRANSFAC = "ID a\nP0 A C G T\n1 1 2 3 4\n2 4 3 2 1\nXX\n//\n"
VCF = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\nc\t7\trs1\tA\tG,T\nc\t9\t.\tAC\tA\n"


def _array(path: Path) -> bytes:
    np.save(path, np.arange(12.0).reshape(3, 4))
    return path.read_bytes()


def _arrays(path: Path) -> bytes:
    np.savez_compressed(path, x=np.arange(12.0), y=np.ones((2, 2)))
    return path.read_bytes()


def _picture(path: Path) -> bytes:
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(path)
    return path.read_bytes()


def _read_image(path: Path) -> Any:
    from attrib.domains.cells import read_image

    return read_image(path)


def _read_mask(path: Path) -> Any:
    from attrib.domains.cells import read_mask

    return read_mask(path)


def _bed(path: Path) -> Any:
    genome = path.with_name("g.fa")
    genome.write_text(">c\nACGTACGTACGTACGT\n")
    return read_bed(path, genome)


READERS: dict[str, tuple[str, Callable[[Path], Any], bytes | Callable[[Path], bytes]]] = {
    "FASTA": ("a.fa", read_fasta, b">a x\nACGTN\nAC\n>b\nGGTT\n"), "packed FASTA": ("a.fa.gz", read_fasta, gzip.compress(b">a\nACGT\n" * 5)),
    "BED": ("a.bed", _bed, b"c\t1\t4\tx\t0\t-\nc\t2\t6\n"), "VCF": ("a.vcf", read_vcf, VCF.encode()),
    "table": ("a.csv", read_table, b'sequence,label\nACGT,1\n"GG",2\n'), "pairs": ("p.csv", lambda p: read_pairs(p, 4), b"mirna,target,label\nACGTACGT,GGTTACGT,1\n" * 2),
    "MEME": ("a.meme", load_motifs, MEME.encode()), "JASPAR": ("a.jaspar", load_motifs, JASPAR.encode()), "TRANSFAC": ("a.tf", load_motifs, TRANSFAC.encode()),
    "npy": ("a.npy", read, _array), "npz": ("a.npz", lambda p: read(p, variables=["x"]), _arrays),
    "PNG": ("a.png", _read_image, _picture), "TIFF": ("a.tif", _read_image, _picture), "BMP": ("a.bmp", _read_image, _picture),
    "JPEG": ("a.jpg", _read_image, _picture), "mask": ("m.tif", _read_mask, _picture),
}  # fmt: skip


def damaged(raw: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, taken out, doubled or put in; or the end cut off."""
    content = bytearray(raw)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        at = rng.randrange(len(content) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(content):
            content[at] = rng.randrange(256)
        elif kind == 1:
            del content[at : at + rng.randrange(1, 9)]
        elif kind == 2:
            content[at:at] = content[at : at + rng.randrange(1, 30)]
        elif kind == 3:
            content[at:at] = rng.choice(
                [
                    b"\0",
                    b"\t",
                    b"\n",
                    b",",
                    b'"',
                    b"-1",
                    b"1e999",
                    b"nan",
                    b"\xff\xfe",
                    b"99999999999999999999",
                ]
            )
        elif len(content) > 1:
            del content[at:]
    return bytes(content)


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    file, reader, make = READERS[name]
    path = tmp_path / file
    raw = make if isinstance(make, bytes) else make(path)
    end, count = time.monotonic() + SECONDS / len(READERS), 0
    while count < TIMES or time.monotonic() < end:
        content = damaged(raw, random.Random(f"{name} {count}"))
        path.write_bytes(content)
        count += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                reader(path)
            except (ValueError, FileNotFoundError) as error:
                assert str(error)  # noqa: PT017 - whatever it says, it says something
            except Exception as error:
                pytest.fail(
                    f"damage {count - 1} of {name}: {type(error).__name__}: {error}\n{content[:300]!r}"
                )
