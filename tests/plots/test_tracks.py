"""Logos of one sequence below each other, and its mutations."""

import pandas as pd
import pytest

from attrib.plots import sequence_tracks
from tests.pictures import SEQUENCE, along, drawn


def test_tracks_of_one_sequence() -> None:
    a = along([1.0, -0.5, 0.0, 2.0, 7.0, 0.25])
    seqlets = pd.DataFrame({"start": [1], "end": [4]})
    figure = sequence_tracks(
        SEQUENCE, {"one": a, "two": -a}, a * (1 - SEQUENCE), seqlets=seqlets, title="seq"
    )
    assert len(figure.axes) == 4  # two logos, the mutations, their colour bar
    assert figure.get_suptitle() == "seq"
    assert drawn(figure).startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="at least one row"):
        sequence_tracks(SEQUENCE, {})
