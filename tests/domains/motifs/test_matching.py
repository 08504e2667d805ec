"""Motifs matched to a database of JASPAR's and made-up ones."""

import sys

import numpy as np
import pytest

from attrib.domains.motifs import as_motif, flipped_motif, tomtom
from tests.jaspar import database, matrices


def test_motifs_find_themselves() -> None:
    """As they are, turned, and cut; noise finds nothing as good."""
    pytest.importorskip("memelite")
    rng = np.random.default_rng(0)
    own = matrices()
    hnf1a, ctcf = own["MA0046.1"], own["MA0139.1"]
    noise = as_motif(rng.dirichlet([30.0] * 4, size=10).T)
    queries = {
        "same": hnf1a,
        "turned": flipped_motif(ctcf),
        "cut": ctcf.isel(position=slice(2, 10)),
        "noise": noise,
    }
    hits = tomtom(queries, database(), top=2)
    assert hits.motif.tolist() == [n for n in queries for _ in range(2)]
    best = hits.drop_duplicates("motif").set_index("motif")
    assert best.target.tolist()[:3] == ["MA0046.1", "MA0139.1", "MA0139.1"]
    assert best.target_name.tolist()[:3] == ["HNF1A", "CTCF", "CTCF"]
    assert best.strand.tolist()[:3] == ["+", "-", "+"]
    assert best.overlap.tolist()[:3] == [14, 12, 8]
    assert best.offset["same"] == 0
    assert best.offset["cut"] == 2
    assert (best.q[:3] < 1e-3).all()
    assert best.p["noise"] > 1e-3
    assert ((hits.q >= hits.p) & (hits.q <= 1)).all()
    one = tomtom({"turned": queries["turned"]}, database(), both_strands=False)
    assert len(one) == len(database())
    assert set(one.strand) == {"+"}


def test_few_targets_are_warned_of() -> None:
    pytest.importorskip("memelite")
    with pytest.warns(UserWarning, match="the database has 3 motifs"):
        hits = tomtom(matrices(), matrices(), top=1)
    assert hits.target.tolist() == hits.motif.tolist()


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="`database` is empty"):
        tomtom(matrices(), {})
    with pytest.raises(ValueError, match="`motifs` is empty"):
        tomtom({}, matrices())
    monkeypatch.setitem(sys.modules, "memelite", None)
    with pytest.raises(ImportError, match=r"pip install -e '.\[sequence\]'"):
        tomtom(matrices(), database())
