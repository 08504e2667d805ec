"""Motifs to MEME text and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attrib.domains.motifs import as_motif, meme_text, parse_meme
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
    found = parse_meme(JASPAR)
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
    back = parse_meme(meme_text(made))
    assert list(back) == list(made)
    assert all(back[k].identical(m) for k, m in made.items())


def test_round_trip_of_jaspars_matrices() -> None:
    made = matrices()
    assert all(parse_meme(meme_text(made))[k].identical(m) for k, m in made.items())


def test_rna_and_full_meme_output() -> None:
    text = JASPAR.replace("ACGT", "ACGU").replace(
        "letter-probability matrix: alength= 4 w= 3",
        "log-odds matrix: alength= 4 w= 3\n 1 2 3 4\n---\nletter-probability matrix: alength= 4 w= 3",
        1,
    )
    assert parse_meme(text)["MA0004.1"].identical(parse_meme(JASPAR)["MA0004.1"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("MEME version 4", "hello", "x is not a MEME file"),
        ("ALPHABET= ACGT", "ALPHABET= ACDEFGHIKLMNPQRSTVWY", "line 3: the alphabet is ACDE"),
        ("MOTIF second", "MOTIF MA0004.1", "line 16: there are two motifs 'MA0004.1'"),
        ("0.950000  0.000000", "0.950000", "line 13: 3 numbers, expected 4"),
        ("0.950000", "0.550000", "line 11: .*column 1 is .* sums to 0.6"),
        ("0.950000", "0.95x", "line 13: .* is not a row of numbers"),
        ("w= 3", "w= 4", "has 3 rows, expected 4"),
        ("MOTIF second", "MOTIF", "line 16: MOTIF without a name"),
        ("letter-probability matrix:\n", "matrix\n", "motif 'second' has no letter-probability matrix"),
        (JASPAR[JASPAR.index("MOTIF") :], "", "x has no motifs"),
    ],
)
def test_errors_name_the_line(old: str, new: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_meme(JASPAR.replace(old, new), source="x")


def test_names_that_the_format_cannot_hold() -> None:
    m = as_motif([[1], [0], [0], [0]])
    for name in ("a b", ""):
        with pytest.raises(ValueError, match="expected a name without spaces"):
            meme_text({name: m})
