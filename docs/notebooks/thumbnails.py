"""Thumbnails of the gallery, and all of them as one picture: `python docs/notebooks/thumbnails.py FOLDER`.

FOLDER/NAME/thumbnail.png is what each notebook writes (`python -m tests.test_notebooks NAME`, in FOLDER/NAME).
"""

import sys
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
ROWS = (("cells", "sequences", "words"), ("mri", "expression", "mirna", "jax"))


def fitted(file: Path, width: int, height: int) -> Image.Image:
    """The picture as large as it can be inside the size, on white."""
    picture = Image.open(file).convert("RGB")
    picture.thumbnail((width, height))
    page = Image.new("RGB", (width, height), "white")
    page.paste(picture, ((width - picture.width) // 2, (height - picture.height) // 2))
    return page


folder = Path(sys.argv[1])
gallery = Image.new("RGB", (1200, 2 * 270), "white")
for y, names in enumerate(ROWS):
    wide = 1200 // len(names)
    for x, name in enumerate(names):
        file = folder / name / "thumbnail.png"
        fitted(file, 360, 240).quantize(128).save(HERE / "thumbnails" / f"{name}.png", optimize=True)
        gallery.paste(fitted(file, wide - 20, 250), (x * wide + 10, y * 270 + 10))
gallery.quantize(200).save(HERE.parent / "images" / "gallery.png", optimize=True)
