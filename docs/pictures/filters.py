"""Filters, activations and what drives them, of a small network that sorts digits: ``python docs/pictures/filters.py``.

Makes `docs/images/filters-grid.png`, `docs/images/filters-activation.png` and `docs/images/filters-strongest.png`. The digits are
scikit-learn's, so that nothing is downloaded.
"""

from __future__ import annotations

from pathlib import Path

import torch
import xarray as xr
from sklearn.datasets import load_digits
from torch import nn

import attrib
from attrib.plots import filter_grid, panels
from attrib.stats import strongest

IMAGES = Path(__file__).parents[1] / "images"
FILTERS, SIZE = 8, 5


def digits() -> tuple[xr.DataArray, torch.Tensor]:
    """Images, from 0 to 1, doubled so that a kernel is smaller than a stroke is long."""
    found = load_digits()
    values = torch.tensor(found.images / 16, dtype=torch.float32)[:, None]
    values = nn.functional.interpolate(values, scale_factor=2, mode="bilinear")
    return xr.DataArray(values.numpy(), dims=("sample", "channel", "y", "x")), torch.tensor(found.target)


def trained(x: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, FILTERS, SIZE, padding=SIZE // 2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(FILTERS, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    optimiser = torch.optim.AdamW(net.parameters(), 5e-3)
    for _ in range(12):
        for rows in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), labels[rows]).backward()
            optimiser.step()
    return net.eval()


def main() -> None:
    x, labels = digits()
    net = trained(torch.tensor(x.values), labels)
    right = (net(torch.tensor(x.values)).argmax(1) == labels).float().mean()
    print(f"sorts {right:.1%} of the digits it was trained on")
    filter_grid(attrib.filters(net)).savefig(IMAGES / "filters-grid.png")
    activation = attrib.layer_activation(net, x, layer="1")
    panels(activation.isel(sample=3), "filter", columns=4).savefig(IMAGES / "filters-activation.png")
    found = strongest(activation, x, count=6, size=SIZE)
    patches = found.patch.isel(filter=slice(0, 4)).stack(patch_of=("filter", "rank")).squeeze("channel")
    titles = [f"filter {f}, {v:.2f}" for f, v in zip(patches["filter"].values, found.activation.isel(filter=slice(0, 4)).values.ravel(), strict=True)]  # fmt: skip
    shown = patches.drop_vars(["patch_of", "filter", "rank"]).transpose("patch_of", ...)
    panels(shown, "patch_of", columns=6, titles=titles, label="input").savefig(
        IMAGES / "filters-strongest.png"
    )


if __name__ == "__main__":
    main()
