"""Statistics of voxels against nilearn, where both compute the same."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from attrib.io import from_nifti
from attrib.stats import cluster_contrast

nibabel = pytest.importorskip("nibabel")
glm = pytest.importorskip("nilearn.glm.second_level")
RELABELLINGS = 200


@pytest.mark.filterwarnings("ignore")
def test_clusters_are_those_of_non_parametric_inference() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(16, 6, 6, 6)).astype("float32")
    values[:8, 2:5, 2:5, 2:5] += 1.3
    images = [nibabel.Nifti1Image(v, np.eye(4)) for v in values]
    mask = nibabel.Nifti1Image(np.ones((6, 6, 6), "uint8"), np.eye(4))
    design = pd.DataFrame({"group": np.repeat([1.0, 0.0], 8), "intercept": 1.0})
    theirs = glm.non_parametric_inference(
        images, design_matrix=design, second_level_contrast="group", mask=mask, n_perm=RELABELLINGS, two_sided_test=True,
        random_state=0, threshold=0.01, tfce=True, verbose=0,
    )  # fmt: skip
    a = from_nifti(images, channel=False)
    ours = cluster_contrast(a, np.arange(16) < 8, threshold=0.01, n_permutations=RELABELLINGS, tfce=True)
    np.testing.assert_allclose(ours.t, theirs["t"].get_fdata(), atol=2e-4)
    size, mass = theirs["size"].get_fdata(), theirs["mass"].get_fdata()
    for n in range(1, ours.sizes["number"] + 1):
        inside = (ours.cluster == n).values
        assert np.unique(size[inside]).tolist() == [float(ours["size"].sel(number=n))]
        np.testing.assert_allclose(mass[inside], float(ours.mass.sel(number=n)), rtol=1e-3)
    assert ((size > 0) == (ours.cluster > 0).values).all()
    p = {k: 10 ** -theirs[k].get_fdata() for k in ("logp_max_t", "logp_max_mass", "logp_max_size")}
    agree(ours.p_corrected.values, p["logp_max_t"])
    # its steps are a hundredth of each map's own maximum, and not multiplied by their size: no p-values to compare
    enhanced = theirs["tfce"].get_fdata() * np.abs(ours.t).max().item() / 100
    top = np.abs(enhanced) > 0.2 * np.abs(enhanced).max()
    np.testing.assert_allclose(ours.enhanced.values[top], enhanced[top], rtol=0.06)
    for values, name in ((ours.p_mass, "logp_max_mass"), (ours.p_size, "logp_max_size")):
        for n in range(1, ours.sizes["number"] + 1):
            agree(float(values.sel(number=n)), p[name][(ours.cluster == n).values])


def agree(ours: np.ndarray | float, theirs: np.ndarray) -> None:
    """Two estimates of one p from as many relabellings each differ by no more than four standard errors, and a step of both."""
    p = (ours + theirs) / 2
    assert (np.abs(ours - theirs) <= 4 * np.sqrt(2 * p * (1 - p) / RELABELLINGS) + 2 / RELABELLINGS).all()
