"""Drawn cells, two networks that sort them, and what maps say of them: ``python docs/pictures/cells.py FOLDER``.

Makes `docs/images/cells-methods.png` and `docs/images/cam-layers.png`, and prints how much of each method's map lies on
the cell, which is known here: the cell is what was drawn. Backgrounds are the same for all classes and cells lie anywhere,
so that nothing but the cell says what it is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

import attrib
from attrib.domains.cells import read_image
from attrib.plots import overlays
from attrib.workflows.cells import cells
from attrib.workflows.checkpoint import load_checkpoint

CLASSES = ("erythrocyte", "leucocyte", "platelet")
SIZE, TRAINED, HELD_OUT = 64, 120, 20  # pixels; images of each class
METHODS = ("grad_cam", "grad_cam_plus_plus", "layer_cam", "hires_cam")
IMAGES = Path(__file__).parents[1] / "images"


def disc(y: float, x: float, radius: float, wobble: float, rng: np.random.Generator) -> np.ndarray:
    """A round shape with an uneven edge."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    angle = np.arctan2(rows - y, columns - x)
    edge = radius * (1 + wobble * np.sin(3 * angle + rng.uniform(0, 6.3)))
    return np.hypot(rows - y, columns - x) < edge


def paint(image: np.ndarray, where: np.ndarray, colour: tuple[float, float, float]) -> None:
    image[where] = 0.25 * image[where] + 0.75 * np.array(colour)


def drawn(kind: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An image (y, x, 3) and where its cell is."""
    image = np.full((SIZE, SIZE, 3), (232.0, 226.0, 220.0))
    for _ in range(4):  # specks that every image has
        paint(image, disc(*rng.uniform(0, SIZE, 2), rng.uniform(1, 2), 0.1, rng), (205, 200, 205))
    y, x = rng.uniform(18, SIZE - 18, 2)
    radius = (rng.uniform(12, 15), rng.uniform(14, 17), rng.uniform(4, 6))[kind]
    mask = disc(y, x, radius, 0.06, rng)
    paint(image, mask, ((214, 150, 150), (205, 190, 222), (150, 120, 180))[kind])
    if kind == 0:
        paint(image, disc(y, x, radius * 0.45, 0.05, rng), (228, 190, 186))  # paler in the middle
    if kind == 1:
        for dy, dx in rng.normal(0, radius / 3.5, (3, 2)):  # lobes of the nucleus
            paint(image, disc(y + dy, x + dx, radius * 0.38, 0.1, rng) & mask, (92, 62, 150))
    return (image + rng.normal(0, 6, image.shape)).clip(0, 255).astype(np.uint8), mask


def checkpoint(folder: Path, version: str) -> Path:
    """A small network, trained and saved as Hugging Face's Trainer saves it."""
    import transformers

    rng = np.random.default_rng(0)
    labels = torch.arange(3 * TRAINED) % 3
    x = (
        torch.tensor(np.stack([drawn(int(k), rng)[0] for k in labels])).permute(0, 3, 1, 2).float() / 127.5
        - 1
    )
    torch.manual_seed(0)
    names = dict(enumerate(CLASSES))
    config = getattr(transformers, f"{version}Config")(
        num_stages=2, hidden_sizes=[24, 48], depths=[1, 1], patch_size=4, image_size=SIZE, initializer_range=0.1,
        id2label=names, label2id={n: k for k, n in names.items()},
    )  # fmt: skip
    net = getattr(transformers, f"{version}ForImageClassification")(config)
    optimiser = torch.optim.AdamW(net.parameters())
    pace = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, epochs=18, steps_per_epoch=len(x) // 15)
    for _ in range(18):
        for rows in torch.randperm(len(x)).split(15):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x[rows]).logits, labels[rows]).backward()
            optimiser.step()
            pace.step()
    net.save_pretrained(folder)
    prepared = {"image_processor_type": "ViTImageProcessor", "size": {"height": SIZE, "width": SIZE}}
    (folder / "preprocessor_config.json").write_text(json.dumps(prepared))
    return folder


def slides(folder: Path) -> tuple[Path, Path]:
    """Held-out images in a folder per class, and their masks."""
    rng = np.random.default_rng(1)
    for k in range(3 * HELD_OUT):
        image, mask = drawn(k % 3, rng)
        for place, values in (("images", image), ("masks", (255 * mask).astype(np.uint8))):
            (folder / place / CLASSES[k % 3]).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(folder / place / CLASSES[k % 3] / f"cell{k:03d}.png")
    return folder / "images", folder / "masks"


def flat(masks: Path) -> Path:
    """The masks of all classes in one folder: images that are given one by one have no class."""
    place = masks.with_name("masks_of_all")
    place.mkdir(exist_ok=True)
    for f in masks.glob("*/*.png"):
        (place / f.name).write_bytes(f.read_bytes())
    return place


def stacked(files: list[Path], path: Path) -> None:
    pictures = [Image.open(f).convert("RGB") for f in files]
    whole = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), "white")
    top = 0
    for p in pictures:
        whole.paste(p, (0, top))
        top += p.height
    whole.quantize(256).save(path, optimize=True)


def layers(folder: Path, image: Path, path: Path) -> None:
    """Layer-CAM of one image at an early and at the last layer."""
    classifier = load_checkpoint(folder)
    picture = read_image(image)
    x = torch.from_numpy(classifier.preparation.apply(picture.values))[None]
    names = ["convnext.embeddings", "convnext.encoder.stages.0", "convnext.encoder.stages.1"]
    a = attrib.layer_cam(
        classifier.model, x.numpy(), layer=names, target="predicted", classes=classifier.classes,
        dims=("sample", "channel", "y", "x"), coords={"y": picture.y.values, "x": picture.x.values},
    )[:, 0]  # fmt: skip
    titles = ["embeddings", "stage 0", "stage 1 (last)"]
    overlays(picture, a, "layer", titles=titles, title=f"Layer-CAM, {a.target.item()}").savefig(path)


def on_the_cell(a: torch.Tensor, masks: torch.Tensor) -> float:
    """Mean share of the positive part of maps (N, y, x) inside the masks."""
    up = a.clamp(min=0)
    return float(((up * masks).sum((1, 2)) / up.sum((1, 2))).nanmean())


def shares(folder: Path, images: Path, masks: Path) -> None:
    """Print each method's share at each stage, and that of integrated gradients."""
    classifier = load_checkpoint(folder)
    files = sorted(images.glob("*/*.png"))
    x = torch.stack([torch.from_numpy(classifier.preparation.apply(read_image(f).values)) for f in files])
    inside = torch.tensor(
        np.stack([np.asarray(Image.open(masks / f.parent.name / f.name)) > 0 for f in files])
    )
    said = [classifier.classes[k] for k in classifier.model(x).logits.argmax(1)]
    right = np.mean([s == f.parent.name for s, f in zip(said, files, strict=True)])
    stages = [n for n, _ in classifier.model.named_modules() if n.split(".")[-2:-1] == ["stages"]]
    paper = x.flatten(2).median(2).values[:, :, None, None].expand_as(x).contiguous()
    fine = attrib.functional.integrated_gradients(classifier.model, x, target="predicted", baselines=paper)
    print(f"{len(x)} images, {right:.1%} right; cells cover {inside.float().mean():.1%}")
    print(f"integrated gradients: {on_the_cell(fine.sum(1), inside):.1%}")
    for layer in stages:
        for name in METHODS:
            a = attrib.functional.METHODS[name](classifier.model, x, target="predicted", layer=layer)
            print(f"{layer} {name}: {on_the_cell(a, inside):.1%}")


def main(folder: Path) -> None:
    images, masks = slides(folder)
    for version in ("ConvNextV2", "ConvNext"):
        trained = checkpoint(folder / version, version)
        shares(trained, images, masks)
    early = "convnext.encoder.stages.0"
    few = [images / c / f"cell{k:03d}.png" for k, c in enumerate(CLASSES)]
    cells(few, trained, folder / "study", methods=METHODS, layer=early, masks=flat(masks))
    stacked([folder / "study" / f"cell{k:03d}_methods.png" for k in (0, 1, 2)], IMAGES / "cells-methods.png")
    layers(trained, images / CLASSES[1] / "cell001.png", IMAGES / "cam-layers.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
