"""Mutations in symmetric colours, with the sequence's letters marked."""

import numpy as np
import pytest
import xarray as xr

from attrib.plots import mutation_map
from tests.pictures import SEQUENCE, along


def test_mutations_have_symmetric_colours_and_marks() -> None:
    a = xr.DataArray(
        np.zeros((4, 6)), dims=("nucleotide", "position"), coords=SEQUENCE.coords, attrs={"units": "output"}
    )
    a[1, 0], a[2, 3] = -2.0, 0.5
    ax = mutation_map(a, SEQUENCE)
    (picture,) = ax.images
    assert picture.get_clim() == (-picture.get_clim()[1], picture.get_clim()[1])
    np.testing.assert_array_equal(picture.get_array(), a.values)
    marks = ax.collections[0].get_offsets()
    assert sorted(map(tuple, np.asarray(marks).tolist())) == [(0, 0), (1, 1), (2, 2), (3, 3), (5, 0)]
    assert mutation_map(a, SEQUENCE, limit=9).images[0].get_clim() == (-9, 9)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="one sequence"):
        mutation_map(along([1.0] * 6), SEQUENCE)
