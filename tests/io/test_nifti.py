"""Images of nibabel as inputs, and attributions back in their grids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import attrib
from attrib.io import from_nifti, load, read, save, save_nifti, to_nifti
from attrib.labels.grids import affine_of, to_mm

nibabel = pytest.importorskip("nibabel")
AFFINES = {
    "RAS": np.diag([2.0, 3.0, 4.0, 1.0]),
    "LAS": np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]]),
    "LPI": np.array([[-1.0, 0, 0, 90], [0, -1, 0, 100], [0, 0, -1.5, 70], [0, 0, 0, 1]]),
    "PSR": np.array([[0, 0, 1.0, -9], [-1.1, 0, 0, 9], [0, 1.2, 0, -7], [0, 0, 0, 1]]),
    "oblique": np.array([[-1.9, 0.3, 0.1, 80], [0.3, 1.9, -0.5, -100], [0.2, 0.5, 1.8, -60], [0, 0, 0, 1]]),
}


def image(
    affine: np.ndarray, kind: Any = nibabel.Nifti1Image, endian: str = "<", shape: tuple = (4, 5, 6)
) -> Any:
    values = np.random.default_rng(0).integers(1, 1000, shape).astype(np.int16)
    made = kind(values, affine, kind.header_class(endianness=endian))
    made.header.set_slope_inter(0.25, 3)
    made.set_sform(affine, 4)
    made.set_qform(affine, 1, strip_shears=True)
    return made


def total(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1).sum(1)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image], ids=["1", "2"])
@pytest.mark.parametrize("endian", "<>")
@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
@pytest.mark.parametrize("orientation", [None, "RAS"])
def test_what_goes_in_comes_back_in_its_own_grid(
    tmp_path: Path, kind: Any, endian: str, affine: np.ndarray, orientation: str | None
) -> None:
    """input x gradient of a sum is the input, so each voxel has to come back to its place."""
    file = tmp_path / "sub-1.nii.gz"
    image(affine, kind, endian).to_filename(file)
    x = from_nifti(file, orientation=orientation)
    if orientation:
        assert nibabel.aff2axcodes(affine_of(x)) == tuple(orientation)
    result = attrib.input_x_gradient(total, x)
    back = nibabel.load(save_nifti(result, tmp_path / "map.nii.gz", like=file))
    stored = nibabel.load(file)
    np.testing.assert_array_equal(back.get_fdata(), stored.get_fdata())
    np.testing.assert_array_equal(back.affine, stored.affine)
    assert type(back) is kind
    assert back.get_data_dtype().newbyteorder("=") == np.float32
    assert (back.header["sform_code"], back.header["qform_code"]) == (4, 1)
    assert bytes(back.header["descrip"].item()) == b"attrib input_x_gradient (output)"
    assert not [f for f in tmp_path.iterdir() if f.name.startswith(".")]


def test_the_same_peak_in_mm_whatever_the_orientation(tmp_path: Path) -> None:
    """A volume, and copies of it stored along other axes, have their peak at one place."""
    peaks = []
    stored = nibabel.Nifti1Image(image(AFFINES["oblique"]).get_fdata(dtype="float32"), AFFINES["oblique"])
    for letters in ("RAS", "LAS", "LPI", "PSR", "AIL"):
        wanted = nibabel.orientations.axcodes2ornt(tuple(letters))
        own = nibabel.io_orientation(stored.affine)
        turned = stored.as_reoriented(nibabel.orientations.ornt_transform(own, wanted))
        assert nibabel.aff2axcodes(turned.affine) == tuple(letters)
        a = attrib.input_x_gradient(total, from_nifti(turned, orientation="RAS")).isel(sample=0, channel=0)
        place = np.unravel_index(int(a.values.argmax()), a.shape)
        peaks.append(to_mm(affine_of(a), place))
        # in the image's own voxels, too
        own_map = to_nifti(a, like=turned)
        where = np.unravel_index(own_map.get_fdata().argmax(), own_map.shape)
        np.testing.assert_allclose(to_mm(turned.affine, where), peaks[-1], atol=1e-9)
    np.testing.assert_allclose(peaks, [peaks[0]] * 5, atol=1e-9)


def test_the_affine_survives_methods_files_and_parts(tmp_path: Path) -> None:
    x = from_nifti(image(AFFINES["oblique"]))
    for method in (
        attrib.saliency,
        attrib.integrated_gradients,
        attrib.smooth_grad,
        attrib.deep_lift,
        attrib.occlusion,
    ):
        options = {"window": {"i": 2, "j": 2, "k": 2}} if method is attrib.occlusion else {}
        a = method(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(120, 2)), x, target=1, **options)
        np.testing.assert_allclose(affine_of(a), AFFINES["oblique"])
        for suffix in (".nc", ".npy"):
            assert load(save(a, tmp_path / f"a{suffix}")).identical(a)
    part = a.isel(i=slice(1, 3), k=[3, 5])
    np.testing.assert_allclose(to_mm(affine_of(part), [1, 2, 1]), to_mm(AFFINES["oblique"], [2, 2, 5]))
    coarse = a.isel(j=slice(4)).coarsen(i=2, j=2, k=2).mean()
    np.testing.assert_allclose(
        to_mm(affine_of(coarse), [0, 0, 0]), to_mm(AFFINES["oblique"], [0.5, 0.5, 0.5])
    )
    with pytest.raises(ValueError, match="not evenly spaced"):
        affine_of(a.isel(k=[0, 1, 4]))


def test_volumes_of_four_dims(tmp_path: Path) -> None:
    file = tmp_path / "bold.nii"
    image(AFFINES["LAS"], shape=(3, 4, 5, 6)).to_filename(file)
    stored = nibabel.load(file).get_fdata(dtype="float32")
    np.testing.assert_array_equal(from_nifti(file).values[0, 0], stored[..., 0])
    np.testing.assert_array_equal(from_nifti(file, volume=4).values[0, 0], stored[..., 4])
    np.testing.assert_array_equal(from_nifti(file, volume="all").values[0], np.moveaxis(stored, 3, 0))
    assert to_nifti(from_nifti(file), like=file).shape == (3, 4, 5)
    with pytest.raises(ValueError, match="`volume` is 6, but bold has 6"):
        from_nifti(file, volume=6)


def test_lazy_images_are_read_when_needed(tmp_path: Path) -> None:
    pytest.importorskip("dask")
    files = [tmp_path / f"s{n}.nii.gz" for n in range(3)]
    for f in files:
        image(AFFINES["LAS"]).to_filename(f)
    x = from_nifti([str(f) for f in files], lazy=True)
    assert x.chunks is not None
    assert x["sample"].values.tolist() == ["s0", "s1", "s2"]
    a = attrib.saliency(total, x)
    assert a.chunks is not None
    xr.testing.assert_allclose(a.compute(), attrib.saliency(total, from_nifti(files)))


def test_read_takes_images_with_or_without_channel(tmp_path: Path) -> None:
    file = tmp_path / "x.nii.gz"
    image(AFFINES["LAS"]).to_filename(file)
    assert read(file).dims == ("sample", "channel", "i", "j", "k")
    assert read(file, dims=["sample", "k", "j", "i"]).dims == ("sample", "k", "j", "i")
    with pytest.raises(ValueError, match="leave it out"):
        read(file, variables=["x"])
    with pytest.raises(ValueError, match="has the dims sample, i, j, k"):
        read(file, dims=["sample", "z", "y", "x"])


def test_other_grids_are_refused_by_name(tmp_path: Path) -> None:
    files = {}
    for name, affine, shape in (
        ("a", AFFINES["LAS"], (4, 5, 6)), ("b", AFFINES["LAS"], (4, 5, 7)), ("c", AFFINES["RAS"], (4, 5, 6)),
    ):  # fmt: skip
        files[name] = tmp_path / f"{name}.nii.gz"
        image(affine, shape=shape).to_filename(files[name])
    with pytest.raises(ValueError, match="b has 4 x 5 x 7 voxels, but a has 4 x 5 x 6"):
        from_nifti([files["a"], files["b"]])
    with pytest.raises(ValueError, match="c lies on another grid than a: their affines differ by up to 1"):
        from_nifti([files["a"], files["c"]])
    with pytest.raises(ValueError, match="`like` is c of 4 x 5 x 6 voxels"):
        to_nifti(from_nifti(files["a"]), like=files["c"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as an image"),
        (b"no image", "cannot be read as an image"),
        (None, "there is no image"),
    ],
)
def test_files_that_are_no_images(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "x.nii.gz"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        from_nifti(file)


def test_affines_that_are_not_invertible_and_colours_are_refused() -> None:
    flat = nibabel.Nifti1Image(np.ones((2, 2, 2), "float32"), np.eye(4))
    flat.affine[2, 2] = 0
    with pytest.raises(ValueError, match="not invertible"):
        from_nifti(flat)
    colours = np.zeros((2, 2, 2), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(ValueError, match="expected one number for each voxel"):
        from_nifti(nibabel.Nifti1Image(colours, np.eye(4)))
    with pytest.raises(ValueError, match="`orientation` is 'RAL', expected three letters"):
        from_nifti(image(AFFINES["LAS"]), orientation="RAL")


def test_headers_that_claim_more_than_memory_are_refused_before_it_is_asked_for(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_shape((32767, 32767, 32767))
    header.set_data_dtype(np.float32)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    (tmp_path / "huge.nii").write_bytes(header.binaryblock + bytes(100))
    with pytest.raises(ValueError, match=r"huge.nii in memory would take .* GiB"):
        from_nifti(tmp_path / "huge.nii")


def test_several_samples_are_no_image() -> None:
    x = from_nifti([image(AFFINES["LAS"])] * 2)
    with pytest.raises(ValueError, match=r"one entry along sample \(2\)"):
        to_nifti(x)
    assert to_nifti(x.isel(sample=0)).shape == (4, 5, 6)


class MetaTensor(torch.Tensor):
    """As MONAI's: a tensor that knows its affine."""

    affine: torch.Tensor


MetaTensor.__module__ = "monai.data.meta_tensor"


def meta(affine: np.ndarray, n: int = 2) -> MetaTensor:
    t = torch.arange(n * 24.0).reshape(n, 1, 2, 3, 4).as_subclass(MetaTensor)
    t.affine = torch.as_tensor(affine)
    return t


def test_metatensors_of_monai_keep_their_affine() -> None:
    a = attrib.saliency(total, meta(AFFINES["oblique"]))
    assert a.dims == ("sample", "channel", "i", "j", "k")
    np.testing.assert_allclose(affine_of(a), AFFINES["oblique"])
    own = meta(np.stack([AFFINES["RAS"], AFFINES["LAS"]]))
    each = attrib.saliency(total, own)
    np.testing.assert_allclose(affine_of(each.isel(sample=1)), AFFINES["LAS"])
    with pytest.raises(ValueError, match="different grids"):
        affine_of(each)
