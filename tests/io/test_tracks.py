"""Tracks along a genome, and the arrays of TF-MoDISco."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from attrib.domains.motifs import consensus
from attrib.domains.sequences import one_hot
from attrib.io import load_modisco, save_bedgraph, save_modisco


@pytest.fixture
def windows() -> xr.DataArray:
    """Two windows that share a base, one of them on the other strand, and one on another chromosome."""
    table = pd.DataFrame(
        {
            "sequence": ["ACGT", "TTA", "CC"], "chrom": ["chr1", "chr1", "2"], "start": [10, 13, 5], "end": [14, 16, 7],
            "strand": ["+", "-", "+"],
        },
        index=pd.Index(["a", "b", "c"], name="sample"),
    )  # fmt: skip
    return one_hot(table)


def values(x: xr.DataArray) -> xr.DataArray:
    """1, 2, 3, 4 along the first window; 5, 6, 7 along the second as it is read; 8, 8 along the third."""
    numbers = np.array([[1, 2, 3, 4], [5, 6, 7, 0], [8, 8, 0, 0]], float)
    return x * xr.DataArray(numbers, dims=("sample", "position"))


def test_a_track_has_the_mean_where_windows_overlap(windows: xr.DataArray, tmp_path: Path) -> None:
    """The second window is read backwards: its bases 15, 14, 13 have 5, 6, 7; base 13 is the fourth of the first too."""
    path = save_bedgraph(values(windows), tmp_path / "a.bedgraph")
    assert path.read_text().splitlines() == [
        "2\t5\t7\t8.0", "chr1\t10\t11\t1.0", "chr1\t11\t12\t2.0", "chr1\t12\t13\t3.0", "chr1\t13\t14\t5.5", "chr1\t14\t15\t6.0",
        "chr1\t15\t16\t5.0",
    ]  # fmt: skip


def test_a_track_as_bigwig(windows: xr.DataArray, tmp_path: Path) -> None:
    pybigtools = pytest.importorskip("pybigtools")
    path = save_bedgraph(values(windows), tmp_path / "a.bw", sizes={"chr1": 100, "2": 50})
    opened = pybigtools.open(str(path))
    assert dict(opened.chroms()) == {"chr1": 100, "2": 50}
    assert [tuple(v) for v in opened.records("chr1")][:2] == [(10, 11, 1.0), (11, 12, 2.0)]
    with pytest.raises(ValueError, match="`sizes` says that chr1 has 12 bases, but `a` reaches 13"):
        save_bedgraph(values(windows), tmp_path / "b.bw", sizes={"chr1": 12})
    assert not (tmp_path / "b.bw").exists()


def test_what_is_no_track(windows: xr.DataArray, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`path` is .*, expected a name that ends"):
        save_bedgraph(windows, tmp_path / "a.txt")
    with pytest.raises(ValueError, match="`a` lacks the coords"):
        save_bedgraph(windows.drop_vars("locus"), tmp_path / "a.bg")
    with pytest.raises(ValueError, match=r"`a` has the dims .'target'. too"):
        save_bedgraph(windows.expand_dims(target=[0, 1]), tmp_path / "a.bg")
    for attrs in (
        {"method": "in_silico_mutagenesis", "units": "output"},
        {"method": "saliency", "units": "output / input unit"},
    ):
        with pytest.raises(ValueError, match="for each letter that could stand"):
            save_bedgraph(windows.assign_attrs(attrs), tmp_path / "a.bg")


def test_arrays_for_modisco(tmp_path: Path) -> None:
    x = one_hot(["ACGT", "GGNA"])
    shuffled = (x * 0.25).isel(nucleotide=[3, 0, 2, 1]).transpose("sample", "position", "nucleotide")
    paths = save_modisco(shuffled, x, tmp_path)
    sequences, contributions = (np.load(p, allow_pickle=False)["arr_0"] for p in paths)
    assert sequences.shape == (2, 4, 4)
    assert sequences.dtype == np.int8
    assert np.array_equal(sequences, x.values)
    assert np.array_equal(contributions, 0.25 * x.values)
    with pytest.raises(ValueError, match="have different labels along"):
        save_modisco(shuffled.isel(sample=[1, 0]), x.assign_coords(sample=["p", "q"]), tmp_path)
    with pytest.raises(ValueError, match="`x` has the dims"):
        save_modisco(shuffled, x.isel(sample=0), tmp_path)


def test_tfmodisco_lite_finds_the_motif_that_was_put_in(tmp_path: Path) -> None:
    """The real program on the files of `save_modisco`: 400 sequences of 200 letters with a word of ten, and noise."""
    pytest.importorskip("modiscolite")
    rng = np.random.default_rng(0)
    letters, a = rng.integers(0, 4, (400, 200)), rng.normal(0, 0.02, (400, 4, 200))
    word = [0, 1, 2, 3, 2, 0, 3, 0, 1, 3]
    for i, at in enumerate(rng.integers(40, 150, 400)):
        letters[i, at : at + 10] = word
        a[i, :, at : at + 10] += np.eye(4)[word].T * 1.3 - 0.3
    x = one_hot({f"s{i}": "".join("ACGT"[c] for c in row) for i, row in enumerate(letters)})
    paths = save_modisco(x.copy(data=a), x, tmp_path)
    words = [
        "motifs",
        "-s",
        str(paths[0]),
        "-a",
        str(paths[1]),
        "-n",
        "2000",
        "-w",
        "200",
        "-o",
        str(tmp_path / "out.h5"),
    ]
    code = "import sys; from modiscolite.cli import cli; cli()"
    subprocess.run([sys.executable, "-c", code, *words], check=True, timeout=600)
    found = load_modisco(tmp_path / "out.h5")
    assert {consensus(m) for m in found.values()} <= {"ACGTGATACT", "AGTATCACGT"}
    assert sum(m.sites for m in found.values()) > 200
    # each of ten letters has 1; a few seqlets are cut beside the word, how many depends on the versions of its clustering
    assert 9 < found["pos_0"].contribution < 10.5
