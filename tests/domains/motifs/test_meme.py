"""Motifs to MEME text and back."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attrib.domains.motifs import as_motif, consensus, meme_text, read_motifs
from tests.jaspar import matrices

JASPAR = """MEME version 4

ALPHABET= ACGT

strands: + -

Background letter frequencies
A 0.25 C 0.25 G 0.25 T 0.25

MOTIF MA0004.1 Arnt
letter-probability matrix: alength= 4 w= 3 nsites= 20 E= 0
0.200000  0.800000  0.000000  0.000000
0.950000  0.000000  0.050000  0.000000
0.000000  1.000000  0.000000  0.000000
URL http://jaspar.genereg.net/matrix/MA0004.1
MOTIF second
letter-probability matrix:
 0.3 0.3 0.2 0.2
"""


def test_a_file_of_jaspar() -> None:
    found = read_motifs(JASPAR).motifs
    assert list(found) == ["MA0004.1", "second"]
    arnt = found["MA0004.1"]
    assert arnt.values.T.tolist() == [[0.2, 0.8, 0, 0], [0.95, 0, 0.05, 0], [0, 1, 0, 0]]
    assert arnt.attrs == {"sites": 20.0, "alternative": "Arnt", "evalue": 0.0}
    assert found["second"].sizes["position"] == 1


@given(st.integers(0, 2**32 - 1), st.one_of(st.none(), st.floats(0, 1e9)), st.integers(1, 30))
def test_round_trip_is_exact(seed: int, sites: float | None, width: int) -> None:
    rng = np.random.default_rng(seed)
    made = {
        f"m{k}": as_motif(
            rng.dirichlet([0.3] * 4, size=width).T,
            name=f"m{k}",
            sites=sites,
            alternative=f"n{k}",
            evalue=1e-12,
        )
        for k in range(3)
    }
    back = read_motifs(meme_text(made)).motifs
    assert list(back) == list(made)
    assert all(back[k].identical(m) for k, m in made.items())


def test_round_trip_of_jaspars_matrices() -> None:
    made = matrices()
    assert all(read_motifs(meme_text(made)).motifs[k].identical(m) for k, m in made.items())


def test_rna_and_full_meme_output() -> None:
    text = JASPAR.replace("ACGT", "ACGU").replace(
        "letter-probability matrix: alength= 4 w= 3",
        "log-odds matrix: alength= 4 w= 3\n 1 2 3 4\n---\nletter-probability matrix: alength= 4 w= 3",
        1,
    )
    assert read_motifs(text).motifs["MA0004.1"].identical(read_motifs(JASPAR).motifs["MA0004.1"])


WHOLE = [
    ("MEME version 4", "hello", "x is no file of motifs: it begins with 'hello'"),
    ("ALPHABET= ACGT", "ALPHABET= ACDEFGHIKLMNPQRSTVWY", "line 3: the alphabet is ACDE"),
    (JASPAR[JASPAR.index("MOTIF") :], "", "x has no motifs"),
]


@pytest.mark.parametrize(("old", "new", "message"), WHOLE)
def test_files_without_motifs(old: str, new: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_motifs(JASPAR.replace(old, new), source="x")


ONE = [
    ("0.950000  0.000000", "0.950000", "MA0004.1", 11, "line 13: 3 numbers, expected 4"),
    ("0.950000", "0.550000", "MA0004.1", 11, "column 1 is .* sums to 0.6"),
    ("0.950000", "0.95x", "MA0004.1", 11, "line 13: .* is not a row of numbers"),
    ("w= 3", "w= 4", "MA0004.1", 11, "has 3 rows, expected 4"),
    ("nsites= 20", "nsites= many", "MA0004.1", 11, "its nsites is 'many', expected a number"),
    ("letter-probability matrix:\n", "matrix\n", "second", 17, "it has no letter-probability matrix"),
]


@pytest.mark.parametrize(("old", "new", "name", "line", "message"), ONE)
def test_one_bad_motif_is_listed_and_the_others_are_read(
    old: str, new: str, name: str, line: int, message: str
) -> None:
    reading = read_motifs(JASPAR.replace(old, new))
    (problem,) = reading.problems.itertuples()
    assert (problem.record, problem.kept) == (name, False)
    assert abs(problem.line - line) <= 1
    assert re.search(message, problem.problem)
    assert list(reading.motifs) == [n for n in ("MA0004.1", "second") if n != name]


def test_a_name_twice_and_no_name() -> None:
    reading = read_motifs(JASPAR.replace("MOTIF second", "MOTIF MA0004.1"))
    assert list(reading.motifs) == ["MA0004.1", "MA0004.1_2"]
    assert reading.problems.problem.tolist() == [
        "the name 'MA0004.1' is used more than once; it is called 'MA0004.1_2'"
    ]
    assert reading.problems.kept.all()
    assert list(read_motifs(JASPAR.replace("MOTIF second", "MOTIF")).motifs) == ["MA0004.1", "unnamed"]


def test_the_suites_own_output() -> None:
    """Facts at the end of a MOTIF line are no name; blank lines may lie before the rows; what is read can be written."""
    text = JASPAR.replace(
        "MOTIF second", "MOTIF GATAA MEME-1\twidth =   1  sites =  20  llr = 140  E-value = 1.1e-022"
    )
    text = text.replace("letter-probability matrix:\n", "letter-probability matrix:\n\n").replace(
        "Arnt", "AP-1 (bZIP)"
    )
    motifs = read_motifs(text).motifs
    assert motifs["GATAA"].attrs["alternative"] == "MEME-1"
    assert motifs["MA0004.1"].attrs["alternative"] == "AP-1 (bZIP)"
    again = read_motifs(meme_text(motifs)).motifs
    assert all(again[k].identical(m) for k, m in motifs.items())


OTHERS = {
    "JASPAR": ">MA1 X y\nA [ 0 3 ]\nC [ 9 7 ]\nG [ 1 0 ]\nT [ 0 0 ]\n",
    "JASPAR, other order": ">MA1 X y\nT | 0 0\nG | 1 0\nC | 9 7\nA | 0 3\n",
    "JASPAR, old": ">MA1 X y\n0 3\n9 7\n1 0\n0 0\n",
    "TRANSFAC": "VV  x\nXX\nAC  M1\nID  MA1\nNA  X y\nP0      A      C      G      T\n01      0      9      1      0      S\n02      3      7      0      0      C\nXX\n//\n",
    "TRANSFAC, other order": "ID MA1\nNA X y\nPO\tT\tG\tC\tA\n1\t0\t1\t9\t0\n2\t0\t0\t7\t3\n//\n",
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHERS)
def test_counts_of_other_formats_become_frequencies(kind: str) -> None:
    (motif,) = read_motifs(OTHERS[kind]).motifs.values()
    assert motif.name == "MA1"
    assert motif.attrs == {"sites": 10.0, "alternative": "X y"}
    assert np.allclose(motif, [[0, 0.3], [0.9, 0.7], [0.1, 0], [0, 0]])


def test_motifs_of_homer() -> None:
    text = ">ASTTCCTCTT\tPU.1(ETS)/ThioMac\t7.1\t-100\n0.7\t0.1\t0.1\t0.1\n0.001\t0.997\t0.001\t0.001\n>AC\tbad\n0.7\t0.3\n"
    reading = read_motifs(text)
    (motif,) = reading.motifs.values()
    assert (motif.name, consensus(motif), motif.attrs["alternative"]) == (
        "PU.1(ETS)/ThioMac",
        "AC",
        "ASTTCCTCTT",
    )
    assert reading.problems.problem.tolist() == ["it has 2 numbers in a row, expected 4: A, C, G, T"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (">a\nA [1]\nC [1]\nG [1]\nX [1]\n", "its rows are A, C, G, X"), (">a\nA [1]\nC [1 2]\nG [1]\nT [1]\n", "its rows have 1, 2, 1, 1 numbers"),
        (">a\n0\n0\n0\n0\n", "a position without counts"), ("ID a\nP0 A C G U V\n1 1 1 1 1\n//\n", "its columns are A, C, G, T, V"),
        ("ID a\nP0 A C G T\n//\n", "it has no rows"), ("ID a\nP0 A C G T\n1 1 1 1 x\n//\n", "'x' is no number"),
    ],
)  # fmt: skip
def test_bad_motifs_of_other_formats(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"x has no motifs; line .*{message}"):
        read_motifs(text, source="x")


def test_names_that_the_format_cannot_hold() -> None:
    m = as_motif([[1], [0], [0], [0]])
    for name in ("a b", ""):
        with pytest.raises(ValueError, match="expected a name without spaces"):
            meme_text({name: m})
