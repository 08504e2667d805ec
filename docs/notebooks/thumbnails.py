"""Thumbnails of the gallery, and all of them as one picture: `python docs/notebooks/thumbnails.py FOLDER`.

FOLDER/NAME/thumbnail.png is what each notebook writes (`python -m tests.test_notebooks NAME`, in FOLDER/NAME).
"""

import sys
from pathlib import Path

from PIL import Image, ImageChops

HERE = Path(__file__).parent
WIDTH, GAP = 1800, 40  # of the gallery, in pixels
ROWS = (("mri", "words"), ("sequences", "expression"), ("cells", "jax", "mirna"))


def trimmed(file: Path) -> Image.Image:
    """The picture without its white margins."""
    picture = Image.open(file).convert("RGB")
    return picture.crop(ImageChops.difference(picture, Image.new("RGB", picture.size, "white")).getbbox())


def fitted(picture: Image.Image, width: int, height: int) -> Image.Image:
    """The picture as large as it can be inside the size, on white."""
    small = picture.copy()
    small.thumbnail((width, height))
    page = Image.new("RGB", (width, height), "white")
    page.paste(small, ((width - small.width) // 2, (height - small.height) // 2))
    return page


def justified(pictures: list[Image.Image]) -> Image.Image:
    """Pictures of one height beside each other, from margin to margin."""
    room = WIDTH - GAP * (len(pictures) + 1)
    height = round(room / sum(p.width / p.height for p in pictures))
    row, x = Image.new("RGB", (WIDTH, height + GAP), "white"), GAP
    for picture in pictures:
        width = round(height * picture.width / picture.height)
        row.paste(picture.resize((width, height), Image.Resampling.LANCZOS), (x, GAP // 2))
        x += width + GAP
    return row


folder = Path(sys.argv[1])
pictures = {name: trimmed(folder / name / "thumbnail.png") for row in ROWS for name in row}
for name, picture in pictures.items():
    fitted(picture, 360, 240).quantize(256, kmeans=3).save(HERE / "thumbnails" / f"{name}.png", optimize=True)
rows = [justified([pictures[name] for name in row]) for row in ROWS]
gallery = Image.new("RGB", (WIDTH, sum(row.height for row in rows)), "white")
for k, row in enumerate(rows):
    gallery.paste(row, (0, sum(r.height for r in rows[:k])))
gallery.quantize(256, kmeans=3).save(HERE.parent / "images" / "gallery.png", optimize=True)
