"""The files of one pair and its pictures, on the square of the chaos game and along the sequences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from attrib.domains.fcgr import by_kmer
from attrib.domains.fcgr.images import SEED, seed_site
from attrib.io import save
from attrib.plots import bars, kmer_map, letters, robust_limit
from attrib.plots.scale import DIVERGING, SEQUENTIAL, figure, number
from attrib.stats import entropy, rank_correlation, regions
from attrib.workflows.drawing import method_name
from attrib.workflows.fcgr.pairs import BRANCHES
from attrib.workflows.folder import save_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


Picture = Callable[[], "Figure"]

EXPORTS = "numpy_exports"
REFERENCE = "integrated_gradients"  # the method that others are compared with

NAMED = 5  # k-mers with names in a picture
ROW, LETTER = 1.55, 0.16  # inches: of a row of letters, of a letter's width
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#17becf", "#bcbd22")

TITLES = {"mirna": "miRNA", "mrna": "target"}
FULL = 100.0  # limits are the largest magnitude, since single k-mers matter


def write_sample(
    part: xr.Dataset, name: str, folder: Path, count: int | None = None, *, pictured: bool = True
) -> None:
    """Write the arrays and pictures of a pair (one sample of `explained`), and last its results, whose file marks it as finished."""
    pair, sample = part.isel(sample=0), str(part["sample"].values[0])
    for branch in BRANCHES:
        for method in pair["method"].values:
            a = pair[branch].sel({"method": method}, drop=True)
            values = a.drop_vars([c for c in a.coords if c not in ("y", "x")])
            save(values, folder / EXPORTS / f"{name}_{method}_{branch}.npy")
    for file, make in _pictures(pair, sample, count).items() if pictured else ():
        save_picture(make(), folder / f"{name}_{file}.png")
    save(part, folder / "parts" / f"{name}.nc")


def _pictures(pair: xr.Dataset, sample: str, count: int | None) -> dict[str, Picture]:
    """Functions that draw the pictures, by the end of their files' names."""
    title = titled(sample, int(pair["label"]), float(pair["probability"]))
    makers: dict[str, Picture] = {}
    for branch in BRANCHES:
        makers |= _of_branch(pair, branch, f"{title}, {TITLES[branch]}", count)
    cams = {b: pair[f"{b}_cam"] for b in BRANCHES if f"{b}_cam" in pair}
    if cams:
        layers = dict(part.split(": ") for part in pair.attrs["layers"].split(", "))
        images = {b: pair[f"{b}_image"] for b in BRANCHES}
        makers["grad_cam"] = partial(cam_picture, f"{title}, Grad-CAM", images, cams, layers)
    site = site_of(pair)
    makers["interaction_heatmap"] = partial(interaction_picture, title, heatmaps(pair, leading(pair)), site, SEED)  # fmt: skip
    tracks = {b: {m: track(pair, b, m) for m in per_sample(pair[b])} for b in BRANCHES}
    shaded = "; shaded: seed and its site" if site.any() else "; shaded: seed"
    makers["along"] = partial(along_picture, title + shaded, tracks, site, SEED)
    return makers


def _of_branch(pair: xr.Dataset, branch: str, title: str, count: int | None) -> dict[str, Picture]:
    """Pictures of a branch: all methods together, the regions of the leading one, and each method."""
    maps, lead = pair[branch], leading(pair)
    first = maps.sel({"method": lead})

    def clusters() -> Figure:
        areas = regions(first.drop_vars("kmer"), count=count)
        return regions_picture(f"{title}, {method_name(lead)}", first, areas)

    makers: dict[str, Picture] = {
        f"{branch}_comparison": partial(compared, title, pair[f"{branch}_image"], maps),
        f"{branch}_clusters": clusters,
    }
    for m in map(str, maps["method"].values):
        makers[f"{branch}_{m}"] = partial(single, title, maps.sel({"method": m}), m)
    return makers


def leading(pair: xr.Dataset) -> str:
    """The method of single pictures: integrated gradients, or else the first."""
    methods = [str(m) for m in pair["method"].values]
    return REFERENCE if REFERENCE in methods else methods[0]


def site_of(pair: xr.Dataset) -> np.ndarray:
    """Positions of the target that pair with the miRNA's seed."""
    mirna = str(pair["mirna_sequence"].values)
    mrna = str(pair["mrna_sequence"].values)
    return seed_site(mirna, mrna) if len(mirna) >= SEED[1] else np.zeros(len(mrna), bool)


def track(pair: xr.Dataset, branch: str, method: str) -> xr.DataArray:
    """A method's attribution along a branch's sequence, without the padding."""
    a = pair[f"{branch}_along"].sel({"method": method})
    length = len(str(pair[f"{branch}_sequence"].values))
    inside = a.isel({f"{branch}_position": slice(0, length)})
    return inside.rename({f"{branch}_letter": "letter"}).assign_attrs(long_name=method)


def heatmaps(pair: xr.Dataset, method: str) -> dict[str, xr.DataArray]:
    """The outer product of two attributions, which is no interaction, and the interaction if there is one."""
    a, b = (track(pair, branch, method).rename(letter=f"{branch}_letter") for branch in BRANCHES)
    matrices = {f"synthetic: outer product of {method_name(method)} along both (not an interaction)": a * b}
    if "interaction" in pair:
        true = pair["interaction"].isel(mirna_position=slice(0, len(a)), mrna_position=slice(0, len(b)))
        coords = {c: v for t in (a, b) for c, v in t.coords.items() if str(c).endswith("_letter")}
        smooth = pair["interaction"].attrs.get("softplus", "none")
        smoothing = "" if smooth == "none" else f", ReLU as softplus of sharpness {smooth}"
        matrices[f"interaction: integrated Hessians (log-odds){smoothing}"] = true.assign_coords(coords)
    return matrices


def rows(pair: xr.Dataset, sample: str) -> list[dict[str, Any]]:
    """A row per branch and method: sums, extremes, position of the maximum."""
    site = site_of(pair)
    table = []
    for branch in BRANCHES:
        for method in (str(m) for m in pair["method"].values):
            a = pair[branch].sel({"method": method})
            row = {
                "sample": sample,
                "label": int(pair["label"]),
                "score": float(pair["score"]),
                "probability": float(pair["probability"]),
            }
            row |= {"branch": branch, "method": method} | _figures(a) | _places(pair, branch, method, site)
            row |= {n: float(pair[n].sel({"method": method})) for n in ("delta", "deletion_z")}
            row |= _with_reference(pair, branch, method)
            table.append(row)
    return table


def _figures(a: xr.DataArray) -> dict[str, Any]:
    values = a.values.astype(float)
    top = top_kmers(a, 1)
    return {
        "sum": values.sum(), "mean": values.mean(), "std": values.std(), "minimum": values.min(), "maximum": values.max(),
        "absolute_sum": np.abs(values).sum(), "positive_share": float((values > 0).mean()),
        "entropy": float(entropy(a)), "top_kmer": top[0] if top else "",
    }  # fmt: skip


def _places(pair: xr.Dataset, branch: str, method: str, site: np.ndarray) -> dict[str, Any]:
    along = track(pair, branch, method)
    at = int(np.argmax(along.values))
    has_site = site.any()
    inside = (
        site
        if branch == "mrna"
        else (np.arange(len(along)) >= SEED[0] - 1) & (np.arange(len(along)) < SEED[1])
    )
    return {
        "top_position": at + 1, "top_letter": str(along["letter"].values[at]),
        "remainder": float(pair[f"{branch}_remainder"].sel({"method": method})),
        "has_site": bool(has_site), "top_in_site": bool(inside[at]) if has_site else None,
    }  # fmt: skip


def _with_reference(pair: xr.Dataset, branch: str, method: str) -> dict[str, float]:
    """Pearson's and Spearman's correlation with integrated gradients over the k-mers; NaN for these themselves."""
    values = (float("nan"), float("nan"))
    if REFERENCE in pair["method"].values and method != REFERENCE:
        a, b = (pair[branch].sel({"method": m}).values.ravel().astype(float) for m in (method, REFERENCE))
        if np.ptp(a) > 0 and np.ptp(b) > 0:
            values = (
                float(np.corrcoef(a, b)[0, 1]),
                rank_correlation(
                    pair[branch].sel({"method": method}), pair[branch].sel({"method": REFERENCE})
                ),
            )
    return dict(zip(("pearson_with_ig", "spearman_with_ig"), values, strict=True))


def compared(title: str, image: xr.DataArray, maps: xr.DataArray) -> Figure:
    """The image, and beside it the attribution of each method, each with its own limit."""
    methods = [str(m) for m in maps["method"].values]
    picture, axes = grid(1 + len(methods), columns=4, below=0.1)
    square(axes[0], image, cmap="Greys")
    axes[0].set_title(f"image (0 to {number(float(image.max()))})", fontsize=9)
    for ax, m in zip(axes[1:], methods, strict=True):
        attribution = maps.sel({"method": m})
        square(ax, attribution, rings=3)
        unit = in_log_odds("", attribution)
        ax.set_title(
            f"{method_name(m)}\n± {number(robust_limit(attribution, FULL))} {unit}".rstrip(), fontsize=8
        )
        ax.set_xlabel(", ".join(top_kmers(attribution, 3)), fontsize=7.5)
    picture.suptitle(title, fontsize=11)
    return picture


def single(title: str, a: xr.DataArray, method: str) -> Figure:
    """One attribution, and its largest k-mers by name."""
    picture = figure((8.2, 4.7))
    picture.set_layout_engine("none")
    ax = picture.add_axes((0.04, 0.14, 0.45, 0.77))
    mesh = square(ax, a, names=NAMED)
    bar = picture.colorbar(mesh, cax=picture.add_axes((0.525, 0.16, 0.014, 0.72)))
    bar.set_label(in_log_odds(method_name(method), a), fontsize=8)
    bar.ax.tick_params(labelsize=7)
    side = picture.add_axes((0.71, 0.12, 0.25, 0.76))
    words = by_kmer(a)
    bars(
        words,
        n=max(1, min(15, int((words != 0).sum()))),
        ax=side,
        label=in_log_odds("", a) or "attribution",
    )
    side.tick_params(labelsize=7)
    side.locator_params(axis="x", nbins=3)
    side.set_ylabel("")
    side.set_title("largest k-mers", fontsize=9)
    picture.suptitle(title, fontsize=11)
    return picture


def cam_picture(
    title: str,
    images: Mapping[str, xr.DataArray],
    cams: Mapping[str, xr.DataArray],
    layers: Mapping[str, Any],
) -> Figure:
    """Grad-CAM of each branch, with frames around the k-mers of the sequence: no colour but the map's."""
    picture, axes = grid(len(cams), columns=2, panel=4.0, right=0.9, top=0.5, gap=1.0)
    for ax, (name, a) in zip(axes, cams.items(), strict=True):
        mesh = square(ax, a, cmap=SEQUENTIAL)
        _framed(ax, images[name].values > 0)
        nothing = "" if np.nan_to_num(a.values).any() else ", zero everywhere"
        ax.set_title(
            f"{TITLES[name]}, layer {layers[name]}{nothing}\n(framed: k-mers of the sequence)", fontsize=9
        )
        bar = picture.colorbar(mesh, ax=ax, fraction=0.04, pad=0.05)
        bar.ax.tick_params(labelsize=7)
        bar.set_label("Grad-CAM (log-odds)", fontsize=8)
    picture.suptitle(title, fontsize=11)
    return picture


def _framed(ax: Axes, inside: np.ndarray) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    frames = [Rectangle((x - 0.5, y - 0.5), 1, 1) for y, x in np.argwhere(inside)]
    ax.add_collection(PatchCollection(frames, facecolor="none", edgecolor="black", linewidth=min(1.2, 40 / len(inside))))  # fmt: skip


def interaction_picture(
    title: str, maps: Mapping[str, xr.DataArray], site: np.ndarray, seed: tuple[int, int]
) -> Figure:
    """The interaction by position: letters of the miRNA down, of the target across; the known site is outlined."""
    wide = max(8.0, 1.5 + 0.17 * next(iter(maps.values())).shape[1])
    picture = figure((wide, 0.8 + 3.5 * len(maps)))
    axes: Any = picture.subplots(len(maps), 1, squeeze=False)[:, 0]
    for ax, (name, a) in zip(axes, maps.items(), strict=True):
        bound = robust_limit(a, FULL)
        mesh = ax.imshow(
            a.values, cmap=DIVERGING, vmin=-bound, vmax=bound, interpolation="nearest", aspect="auto"
        )
        for axis, branch in (("y", "mirna"), ("x", "mrna")):
            counted = "{1} {0}" if axis == "y" else "{0}\n{1}"
            spelled = [counted.format(v, k) if k == 1 or k % 5 == 0 else str(v) for k, v in enumerate(a[f"{branch}_letter"].values, 1)]  # fmt: skip
            getattr(ax, f"set_{axis}ticks")(range(len(spelled)), spelled, fontsize=7)
        ax.tick_params(length=0)
        ax.set_xlabel("target position (nt), 5' to 3'", fontsize=9)
        ax.set_ylabel("miRNA position (nt), 5' to 3'", fontsize=9)
        _outline(ax, site, seed)
        ax.set_title(name, fontsize=10)
        bar = picture.colorbar(mesh, ax=ax, fraction=0.03, pad=0.01)
        bar.ax.tick_params(labelsize=7)
        bar.set_label("log-odds²" if name.startswith("synthetic") else "log-odds", fontsize=8)
    picture.suptitle(f"{title}" + ("; outlined: seed and its site" if site.any() else ""), fontsize=11)
    return picture


def _outline(ax: Axes, site: np.ndarray, seed: tuple[int, int]) -> None:
    from matplotlib.patches import Rectangle

    for start, stop in runs(site):
        ax.add_patch(
            Rectangle(
                (start - 0.5, seed[0] - 1.5), stop - start, seed[1] - seed[0] + 1, fill=False, linewidth=1.2
            )
        )


def regions_picture(title: str, a: xr.DataArray, regions: xr.Dataset) -> Figure:
    """The attribution, and its regions in colours with their strongest k-mers."""
    picture, (left, right) = grid(2, columns=2, panel=3.6, right=2.0, top=0.4, below=0.4)
    square(left, a, names=NAMED)
    left.set_title(f"attribution (± {number(robust_limit(a, FULL))})", fontsize=9)
    _regions(right, a, regions)
    for k in range(regions.sizes["number"]):
        word = top_kmers(a.where(regions["region"] == k, 0.0), 3)
        line = f"{k}: {float(regions['sum'][k]):+.3g}, {int(regions['size'][k])} k-mers\n   {', '.join(word)}"
        right.annotate(
            line, (1.04, 0.98 - k * 0.12), xycoords="axes fraction", va="top", fontsize=7.5,
            color=COLOURS[k % len(COLOURS)],
        )  # fmt: skip
    picture.suptitle(title, fontsize=11)
    return picture


def _regions(ax: Axes, a: xr.DataArray, regions: xr.Dataset) -> None:
    """Each region in its colour; k-mers outside of regions are white."""
    from matplotlib.colors import ListedColormap

    several = len(COLOURS)
    shade = np.where(regions["region"].values >= 0, regions["region"].values % several + 1, 0)
    square(ax, a.copy(data=shade), limit=0.0, cmap="Greys")
    ax.images[0].remove()
    colours = ListedColormap(["#ffffff", *COLOURS])
    ax.imshow(shade, cmap=colours, vmin=0, vmax=several, interpolation="nearest")
    score = regions.attrs["silhouette"]
    silhouette = f", silhouette {score:.2f}" if np.isfinite(score) else ""
    count = regions.sizes["number"]
    ax.set_title(f"{count} region{'s' * (count != 1)}{silhouette}", fontsize=9)


def along_picture(
    title: str, tracks: Mapping[str, Mapping[str, xr.DataArray]], site: np.ndarray, seed: tuple[int, int]
) -> Figure:
    """Letters of both sequences, as high as their attributions; one row per method."""
    methods = list(tracks["mirna"])
    picture = figure((1.0, 0.7 + ROW * len(methods)))
    picture.set_layout_engine("none")
    spans = {"mirna": [(seed[0] - 1, seed[1])], "mrna": runs(site)}
    axes: dict[str, list[Axes]] = {name: [] for name in TITLES}
    for method in methods:
        for name in TITLES:
            ax, a = picture.add_axes((0, 0, 1, 1 / picture.get_figheight())), tracks[name][method]
            label = in_log_odds(f"{method_name(method)}\n", a).replace("\n ", "\n")
            _letters(ax, a, label if name == "mirna" else "", spans[name])
            ax.set_xlabel(f"{TITLES[name]} position (nt)" if method == methods[-1] else "", fontsize=8)
            axes[name].append(ax)
    _lay_out(picture, axes)
    picture.suptitle(title, fontsize=11)
    return picture


def _lay_out(picture: Figure, axes: Mapping[str, Sequence[Axes]]) -> None:
    """Rows of axes 1 inch high, columns as wide as their letters; the numbers beside them have the room that they take."""
    lefts, wide = {}, 0.0
    for name, column in axes.items():
        boxes = [ax.yaxis.get_tightbbox() for ax in column]
        beside = max(ax.bbox.x0 - box.x0 for ax, box in zip(column, boxes, strict=True) if box is not None)
        lefts[name] = wide + beside / picture.dpi + 0.15
        wide = lefts[name] + LETTER * np.ptp(column[0].get_xlim())
    high = picture.get_figheight()
    picture.set_figwidth(wide + 0.15)
    for name, column in axes.items():
        for row, ax in enumerate(column):
            bottom, inches = high + 0.05 - ROW * (row + 1), LETTER * np.ptp(ax.get_xlim())
            ax.set_position((lefts[name] / (wide + 0.15), bottom / high, inches / (wide + 0.15), 1 / high))


def _letters(ax: Axes, a: xr.DataArray, label: str, spans: list[tuple[int, int]]) -> None:
    """One sequence's letters, with shaded spans behind them."""
    letters(a, ax=ax, label=label)
    ax.yaxis.label.set_fontsize(7.5)
    for start, stop in spans:
        ax.axvspan(start - 0.5, stop - 0.5, color="#ffd54d", alpha=0.35, linewidth=0, zorder=0)


def titled(sample: str, label: int, probability: float) -> str:
    """The title of a sample's pictures."""
    return f"{sample}: label {label}, probability of binding {probability:.3f}"


def square(
    ax: Axes,
    a: xr.DataArray,
    *,
    limit: float | None = None,
    names: int = 0,
    rings: int = 0,
    cmap: str = DIVERGING,
) -> Any:
    """Draw an attribution on the square, with `rings`, or with `names` below it; returns what a colour bar needs."""
    kmer_map(a, ax=ax, limit=limit, rings=max(names, rings), named=bool(names), cmap=cmap, colorbar=False)
    return ax.images[-1]


def grid(
    count: int,
    *,
    columns: int = 4,
    panel: float = 2.6,
    gap: float = 0.45,
    right: float = 0.0,
    top: float = 0.5,
    below: float = 0.0,
) -> tuple[Figure, list[Axes]]:
    """Square panels side by side; the layout is computed here, since matplotlib's layout takes longer than drawing."""
    columns = min(columns, count)
    rows = -(-count // columns)
    wide, high = columns * (panel + gap) + 0.6 - gap + right, rows * (panel + 0.55 + below) + top
    picture = figure((wide, high))
    picture.set_layout_engine("none")
    axes = []
    for k in range(count):
        row, column = divmod(k, columns)
        left, bottom = (
            0.3 + column * (panel + gap),
            high - top - (row + 1) * (panel + 0.55 + below) + 0.25 + below,
        )
        axes.append(picture.add_axes((left / wide, bottom / high, panel / wide, panel / high)))
    return picture, axes


def top_kmers(a: xr.DataArray, count: int) -> list[str]:
    """The k-mers of the largest magnitudes, without those of zero."""
    order = np.argsort(-np.abs(a.values), axis=None, kind="stable")[:count]
    return [str(a["kmer"].values.ravel()[i]) for i in order if a.values.ravel()[i] != 0]


def in_log_odds(label: str, a: xr.DataArray) -> str:
    """A label with the unit of an attribution (its coord or attr `units`), whose output is the log-odds of binding."""
    units = str(a.coords["units"].item() if "units" in a.coords else a.attrs.get("units", "")).replace("output", "log-odds")  # fmt: skip
    return f"{label} ({units})" if units and label else units or label


def runs(inside: np.ndarray) -> list[tuple[int, int]]:
    """Start and end (exclusive) of each stretch."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(int), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def per_sample(maps: xr.DataArray | xr.Dataset) -> list[str]:
    """The methods with a picture per pair: all but the corrected ones."""
    return [
        str(m) for m in maps["method"].values if not str(m).endswith(("_normalize", "_filter", "_tangent"))
    ]
