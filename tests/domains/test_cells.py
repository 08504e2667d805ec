"""Images of cells: found in folders, and read."""

from pathlib import Path

import numpy as np
import pytest

from attrib.domains.cells import find_images, left_out, read_image, read_mask

Image = pytest.importorskip("PIL.Image")


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", ["bmp", "png", "tif", "tiff"])
def test_lossless_formats_come_as_they_are(tmp_path: Path, suffix: str) -> None:
    values = picture(5, 7)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    found = read_image(tmp_path / f"a.{suffix}")
    assert np.array_equal(found.values, values)
    assert found.dims == ("y", "x", "channel")
    assert found.y.attrs["units"] == "pixel"


def test_grey_deep_transparent_and_turned_images(tmp_path: Path) -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.tif")
    Image.fromarray(picture(3, 4)).convert("RGBA").save(tmp_path / "clear.png")
    turned = Image.fromarray(picture(3, 4))
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert np.array_equal(read_image(tmp_path / "grey.png").values, np.repeat(grey[..., None], 3, 2))
    assert np.array_equal(read_image(tmp_path / "deep.tif").values, np.repeat(grey[..., None], 3, 2))
    assert np.array_equal(read_image(tmp_path / "clear.png").values, picture(3, 4))
    assert read_image(tmp_path / "turned.jpg").shape == (4, 3, 3)
    turned.save(tmp_path / "turned.png", exif=exif)  # without loss
    assert np.array_equal(read_image(tmp_path / "turned.png").values, np.rot90(picture(3, 4), -1))


def test_print_colours_and_pages(tmp_path: Path) -> None:
    """CMYK as Pillow turns it to RGB; of several pages the first."""
    ink = Image.fromarray(picture(8, 8)).convert("CMYK")
    ink.save(tmp_path / "ink.jpg", quality=100, subsampling=0)
    with Image.open(tmp_path / "ink.jpg") as file:
        assert np.array_equal(read_image(tmp_path / "ink.jpg").values, np.asarray(file.convert("RGB")))
    pages = [Image.fromarray(picture(3, 4, seed)) for seed in (1, 2)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    assert np.array_equal(read_image(tmp_path / "pages.tif").values, picture(3, 4, 1))


def test_twelve_bits_do_not_become_black_in_silence(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 4095]], np.uint16)).save(tmp_path / "twelve.tif")
    with pytest.raises(ValueError, match="brightest value is 4095 of 65535, as cameras of 12 bit"):
        read_image(tmp_path / "twelve.tif")
    Image.fromarray(np.array([[0, 4096]], np.uint16)).save(tmp_path / "dark.tif")
    assert read_image(tmp_path / "dark.tif").values.max() == 16
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(tmp_path / "black.tif")
    assert read_image(tmp_path / "black.tif").values.max() == 0


def test_hidden_files_are_no_images_and_dead_links_are_named(tmp_path: Path) -> None:
    Image.fromarray(picture(3, 4)).save(tmp_path / "a.png")
    for name in (".a.png", "._a.png", ".cache/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "dead.png").symlink_to(tmp_path / "gone.png")
    assert [f.path.name for f in find_images(tmp_path)] == ["a.png", "dead.png"]
    with pytest.raises(ValueError, match=r"dead\.png is no image that can be read"):
        read_image(tmp_path / "dead.png")


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n and then nothing"])
def test_what_is_no_image_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.png is no image that can be read"):
        read_image(tmp_path / "a.png")


def test_folders_inside_a_folder_are_classes(tmp_path: Path) -> None:
    for name in ("WBC/b.png", "WBC/a.JPG", "RBC/a.png", "c.bmp", "RBC/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_images(tmp_path)
    assert [(f.path.name, f.label) for f in found] == [
        ("c.bmp", None), ("a.png", "RBC"), ("a.JPG", "WBC"), ("b.png", "WBC"),
    ]  # fmt: skip
    assert [f.name for f in found] == ["c", "RBC_a", "WBC_a", "WBC_b"]
    assert [f.name for f in find_images([tmp_path / "c.bmp", tmp_path / "RBC"])] == ["c", "a"]
    (tmp_path / "RBC/a.tif").touch()
    assert [f.name for f in find_images(tmp_path / "RBC")] == ["a_png", "a_tif"]
    with pytest.raises(FileNotFoundError, match="there is no"):
        find_images(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"there is no \.bmp"):
        find_images(tmp_path / "empty")


def _png16(path: Path, values: np.ndarray, kind: int) -> None:
    """A PNG of 16 bit with several channels, which Pillow reads and does not write: header, packed rows, end."""
    import struct
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    h, w = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", w, h, 16, kind, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_twelve_bits_in_colour_or_with_transparency(kind: int, channels: int, tmp_path: Path) -> None:
    """Colour 2, grey with alpha 4, colour with alpha 6; the alpha is full."""
    dark = np.full((2, 3, channels), 4095)
    if channels in (2, 4):
        dark[..., -1] = 65535
    _png16(tmp_path / "dark.png", dark, kind)
    with pytest.raises(ValueError, match="brightest value is at most 4095 of 65535"):
        read_image(tmp_path / "dark.png")
    bright = dark.copy()
    bright[0, 0, 0] = 65535
    _png16(tmp_path / "bright.png", bright, kind)
    assert read_image(tmp_path / "bright.png").values.max() == 255


def _tiff(path: Path, values: np.ndarray, bits: int, photometric: int) -> None:
    """A TIFF of one strip, whose tags Pillow would choose itself: width, height, bits, compression, photometric, strip."""
    import struct

    h, w, channels = (*values.shape, 1)[:3]
    if bits == 12:  # two values in three bytes
        a, b = values.reshape(-1, 2).T
        data = np.stack([a >> 4, (a & 15) << 4 | b >> 8, b & 255], 1).astype(np.uint8).tobytes()
    else:
        data = values.astype(f"<u{bits // 8}").tobytes()
    end = 8 + len(data)
    tags = [
        (256, 3, 1, w), (257, 3, 1, h), (258, 3, channels, bits if channels == 1 else end + 2 + 12 * 9 + 4), (259, 3, 1, 1),
        (262, 3, 1, photometric), (273, 4, 1, 8), (277, 3, 1, channels), (278, 3, 1, h), (279, 4, 1, len(data)),
    ]  # fmt: skip
    directory = (
        struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *t) for t in tags) + struct.pack("<I", 0)
    )
    path.write_bytes(
        b"II*\0"
        + struct.pack("<I", end)
        + data
        + directory
        + struct.pack(f"<{channels}H", *[bits] * channels)
    )


@pytest.mark.parametrize("bits", [8, 16])
def test_zero_is_white_or_black_as_the_file_says(bits: int, tmp_path: Path) -> None:
    full = 2**bits - 1
    values = np.array([[0, full // 2, full]])
    for photometric, expected in ((1, [0, 127, 255]), (0, [255, 128, 0])):
        _tiff(tmp_path / "a.tif", values, bits, photometric)
        assert read_image(tmp_path / "a.tif").values[0, :, 0].tolist() == expected


def test_bits_that_a_tiff_uses(tmp_path: Path) -> None:
    """12 bits are twelve where the file says so; 16 of which 12 are used are refused, in colour and turned around too."""
    _tiff(tmp_path / "a.tif", np.array([[0, 2048, 4095, 0]]), 12, 1)
    assert read_image(tmp_path / "a.tif").values[0, :, 0].tolist() == [0, 128, 255, 0]
    _tiff(tmp_path / "a.tif", np.array([[0, 200, 100, 0]]), 12, 1)
    with pytest.raises(ValueError, match="brightest value is 200 of 4095"):
        read_image(tmp_path / "a.tif")
    _tiff(tmp_path / "a.tif", np.array([[0, 4095]]), 16, 0)
    with pytest.raises(ValueError, match="brightest value is 4095 of 65535"):
        read_image(tmp_path / "a.tif")
    colours = np.full((2, 2, 3), 4095)
    _tiff(tmp_path / "a.tif", colours, 16, 2)
    with pytest.raises(ValueError, match="brightest value is at most 4095 of 65535"):
        read_image(tmp_path / "a.tif")
    colours[0, 0] = 65535
    _tiff(tmp_path / "a.tif", colours, 16, 2)
    assert read_image(tmp_path / "a.tif").values[0, :, 1].tolist() == [255, 15]


@pytest.mark.parametrize("bits", [8, 16])
def test_masks_of_which_zero_is_white(bits: int, tmp_path: Path) -> None:
    _tiff(tmp_path / "m.tif", np.array([[0, 1, 1]]), bits, 0)
    assert read_mask(tmp_path / "m.tif").values.tolist() == [[True, False, False]]
    _tiff(tmp_path / "m.tif", np.array([[0, 1, 2]]), bits, 0)
    with pytest.raises(ValueError, match="is zero the cell"):
        read_mask(tmp_path / "m.tif")


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "int32", "float32"])
@pytest.mark.parametrize("suffix", ["tif", "png", "npy"])
def test_masks_of_labels_of_any_type(dtype: str, suffix: str, tmp_path: Path) -> None:
    labels = np.array([[0, 1], [2, 0]]).astype(dtype)
    if suffix == "npy":
        np.save(tmp_path / "m.npy", labels)
    elif suffix == "png" and dtype in ("int32", "float32"):
        pytest.skip("PNG holds neither")
    else:
        Image.fromarray(labels).save(tmp_path / f"m.{suffix}")
    assert read_mask(tmp_path / f"m.{suffix}").values.tolist() == [[False, True], [True, False]]


def test_masks_that_are_none(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.array([[np.nan]]))
    with pytest.raises(ValueError, match="is no mask that can be read"):
        read_mask(tmp_path / "m.npy")
    (tmp_path / "m.tif").write_bytes(b"no")
    with pytest.raises(ValueError, match="is no mask that can be read"):
        read_mask(tmp_path / "m.tif")


def test_what_lies_too_deep_or_has_another_format_is_listed(tmp_path: Path) -> None:
    (tmp_path / "RBC" / "patient").mkdir(parents=True)
    for name in ("RBC/a.png", "RBC/patient/b.png", "c.webp", "RBC/d.gif", "notes.txt", ".hidden.gif"):
        (tmp_path / name).touch()
    listed = {str(Path(p).relative_to(tmp_path)): why for p, why in left_out(tmp_path).items()}
    assert sorted(listed) == ["RBC/d.gif", "RBC/patient/b.png", "c.webp"]
    assert listed["RBC/patient/b.png"].startswith("it lies 2 folders deep")
    assert listed["c.webp"].startswith(".webp is no format that is read")
