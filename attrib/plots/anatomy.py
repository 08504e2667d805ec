"""Attributions of volumes on slices of the anatomy: right and left, mm, atlas outlines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from attrib.labels.grids import AFFINE, VOXEL_DIMS, affine_of, anatomical
from attrib.plots.scale import DIVERGING, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEQUENTIAL = "inferno"
PERCENTILE = 99.5  # of magnitudes that are not 0, where the colours end
NAMES = ("x", "y", "z")
ENDS = (("L", "R"), ("P", "A"), ("I", "S"))
PANEL = 2.6  # inches, the longer side of a panel


class Colours(NamedTuple):
    """How values of an attribution become colours.

    Attributes
    ----------
    limit : float
        Where the colours end.
    threshold : float
        Magnitudes below it are not laid over the anatomy.
    signed : bool
        Whether there are negative values.
    """

    limit: float
    threshold: float
    signed: bool

    def picture(self) -> dict[str, Any]:
        """Options of `imshow`."""
        low = -self.limit if self.signed else 0.0
        return {"cmap": DIVERGING if self.signed else SEQUENTIAL, "vmin": low, "vmax": self.limit}

    def over(self, values: np.ndarray) -> np.ndarray:
        """Colours (rows, columns, 4), the more opaque the larger the magnitude, and clear below the threshold."""
        from matplotlib import colormaps

        low = -self.limit if self.signed else 0.0
        rgba = colormaps[DIVERGING if self.signed else SEQUENTIAL]((values - low) / (self.limit - low))
        size = np.abs(values)
        rise = np.clip((size - self.threshold) / max(self.limit - self.threshold, 1e-30), 0, 1)
        rgba[..., 3] = np.where((size >= self.threshold) & (size > 0), 0.45 + 0.5 * rise, 0.0)
        return rgba


def colours_of(a: xr.DataArray, percentile: float = 95.0) -> Colours:
    """The colours of an attribution: their end at a high percentile of magnitudes, the threshold at `percentile`."""
    size = np.abs(np.asarray(a.values))
    size = size[np.isfinite(size)]
    inside = size[size > 0]
    limit = float(np.percentile(inside, PERCENTILE)) if inside.size else 1.0
    threshold = min(float(np.percentile(size, percentile)), limit)
    return Colours(limit, threshold, bool((np.asarray(a.values) < 0).any()))


def slice_panels(
    anatomy: xr.DataArray,
    attribution: xr.DataArray,
    dim: str,
    index: int,
    *,
    atlas: xr.DataArray | None = None,
    percentile: float = 95.0,
    label: str = "attribution",
    title: str = "",
) -> Figure:
    """Draw one slice three times: the anatomy, the attribution, and its largest values over the anatomy.

    Parameters
    ----------
    anatomy : DataArray
        The image: dims i, j, k and the coord `affine`, as `attrib.io.from_nifti` gives it without samples and channels.
    attribution : DataArray
        On the same voxels.
    dim : str
        The dim across the slices: ``"i"``, ``"j"`` or ``"k"``.
    index : int
        The slice's label along it.
    atlas : DataArray, optional
        Whole numbers on the same voxels; borders of regions are drawn.
    percentile : float, default 95
        Values below this percentile of the volume's magnitudes are not laid over the anatomy.
    label : str
        What the colours are, with the unit.
    title : str
        Above the panels.

    Returns
    -------
    Figure
        Left is left and anterior (of sagittal slices: superior) is up. Positions are in mm. Values with signs are blue and
        red, those without from black to yellow; the end of the colours is the 99.5th percentile of the volume's magnitudes that are
        not 0.

    Raises
    ------
    ValueError
        Without the dims or the affine, and for a slice that is not there.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from attrib.labels.grids import affine_coord
    >>> from attrib.plots import slice_panels
    >>> a = xr.DataArray(np.random.default_rng(0).normal(size=(8, 9, 10)), dims=("i", "j", "k"))
    >>> a = a.assign_coords(affine=affine_coord(np.diag([2.0, 2.0, 2.0, 1.0])))
    >>> [ax.get_title() for ax in slice_panels(a, a, "k", 4).axes if ax.get_title()]
    ['anatomy, z = 8 mm', 'attribution', 'largest 5%']
    """
    return SlicePanels(anatomy, attribution, dim, atlas, percentile, label, title).draw(index)


def slice_summary(
    anatomy: xr.DataArray,
    attribution: xr.DataArray,
    dim: str,
    indices: Sequence[int],
    *,
    atlas: xr.DataArray | None = None,
    percentile: float = 95.0,
    label: str = "attribution",
    title: str = "",
) -> Figure:
    """Draw several slices: the anatomy above, and below it the attribution over a faint anatomy.

    Parameters
    ----------
    anatomy, attribution, dim
        As for `slice_panels`.
    indices : sequence of int
        The slices' labels along `dim`.
    atlas, percentile, label, title
        As for `slice_panels`.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        As `slice_panels`.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from attrib.labels.grids import affine_coord
    >>> from attrib.plots import slice_summary
    >>> a = xr.DataArray(np.ones((8, 9, 10)), dims=("i", "j", "k")).assign_coords(affine=affine_coord(np.eye(4)))
    >>> len(slice_summary(a, a, "k", [2, 4, 6]).axes)
    7
    """
    views = _Views.of(anatomy, attribution, atlas, dim)
    colours = colours_of(attribution, percentile)
    grey = _grey(anatomy)
    count = len(indices)
    wide, high = views.panel(PANEL * 0.75)
    left, right, top, bottom = 0.55, 1.0, 0.62, 0.5
    figure = _figure((left + count * (wide + 0.08) + right, top + 2 * (high + 0.1) + bottom))
    width, height = figure.get_size_inches()
    for column, index in enumerate(indices):
        plane = views.plane(index)
        for row in range(2):
            place = (left + column * (wide + 0.08), bottom + (1 - row) * (high + 0.1))
            ax = figure.add_axes((place[0] / width, place[1] / height, wide / width, high / height))
            ax.imshow(plane.anatomy, cmap="gray", origin="lower", extent=plane.extent, **grey)
            if row == 1:
                ax.imshow(colours.over(plane.attribution), origin="lower", extent=plane.extent)
                _outline(ax, plane)
            else:
                ax.set_title(f"{plane.position}\n{dim} = {index}", fontsize=8)
            _marks(ax, views, first=column == 0, last=row == 1, colour="white")
    _bar(figure, colours, label, (left + count * (wide + 0.08) + 0.08, bottom, high), percentile)
    figure.text(0.01, 1 - 0.06 / height, title, fontsize=10, va="top")
    return figure


class _Plane(NamedTuple):
    anatomy: np.ndarray
    attribution: np.ndarray
    atlas: np.ndarray | None
    extent: tuple[float, float, float, float]
    position: str


class _Views(NamedTuple):
    """Volumes turned so that dims run to the right, to anterior and to superior, and where they are cut."""

    anatomy: xr.DataArray
    attribution: xr.DataArray
    atlas: xr.DataArray | None
    dim: str
    axis: int
    across: int
    up: int
    affine: np.ndarray
    window: tuple[float, float, float, float]

    @classmethod
    def of(
        cls, anatomy: xr.DataArray, attribution: xr.DataArray, atlas: xr.DataArray | None, dim: str
    ) -> _Views:
        if dim not in VOXEL_DIMS:
            raise ValueError(f"`dim` is {dim!r}, expected one of {', '.join(VOXEL_DIMS)}")
        for name, a in (("anatomy", anatomy), ("attribution", attribution), ("atlas", atlas)):
            if a is not None and (set(a.dims) != set(VOXEL_DIMS) or a.sizes != anatomy.sizes):
                raise ValueError(
                    f"`{name}` has sizes {dict(a.sizes)}, expected i, j, k of {dict(anatomy.sizes)}"
                )
        turned = anatomical(anatomy)
        regions = None if atlas is None else _turned_like(atlas, anatomy)
        axis = turned.dims.index(dim)
        across, up = [n for n in range(3) if n != axis]
        everything = (0.0, 0.0, 0.0, 0.0)
        views = cls(
            turned,
            _turned_like(attribution, anatomy),
            regions,
            dim,
            axis,
            across,
            up,
            affine_of(turned, turned.dims),
            everything,
        )
        return views._replace(window=views.head())

    def head(self) -> tuple[float, float, float, float]:
        """Edges in mm of what is not background, and a margin: the darkest fiftieth of the range is background."""
        values = self.anatomy.values
        low, high = float(values.min()), float(values.max())
        inside = values > low + 0.02 * (high - low)
        edges = self.extent(0)
        cut: list[float] = []
        for n, low_mm, high_mm in ((self.across, *edges[:2]), (self.up, *edges[2:])):
            places = np.flatnonzero(inside.any(tuple(m for m in range(3) if m != n)))
            first, last = (places[0], places[-1] + 1) if len(places) else (0, inside.shape[n])
            size = (high_mm - low_mm) / inside.shape[n]
            margin = 0.06 * (last - first) * size
            cut += [max(low_mm, low_mm + first * size - margin), min(high_mm, low_mm + last * size + margin)]
        return cut[0], cut[1], cut[2], cut[3]

    def panel(self, longest: float) -> tuple[float, float]:
        """Width and height in inches of a panel, whose longer side is `longest`."""
        low_x, high_x, low_y, high_y = self.window
        scale = longest / max(high_x - low_x, high_y - low_y)
        return (high_x - low_x) * scale, (high_y - low_y) * scale

    def extent(self, place: int) -> tuple[float, float, float, float]:
        """Edges in mm, of oblique images through the middle of the slice."""
        middle = [(n - 1) / 2 for n in self.anatomy.shape]
        middle[self.axis] = place
        edges = []
        for n in (self.across, self.up):
            ends = []
            for end in (-0.5, self.anatomy.shape[n] - 0.5):
                voxel = list(middle)
                voxel[n] = end
                ends.append(float((self.affine @ [*voxel, 1.0])[n]))
            edges += ends
        return edges[0], edges[1], edges[2], edges[3]

    def plane(self, index: int) -> _Plane:
        """What lies in a slice, rows upwards."""
        labels = (
            self.anatomy[self.dim].values
            if self.dim in self.anatomy.coords
            else np.arange(self.anatomy.sizes[self.dim])
        )
        places = np.flatnonzero(labels == index)
        if not len(places):
            raise ValueError(
                f"`index` is {index}, but slices along {self.dim!r} go from {labels.min()} to {labels.max()}"
            )
        place = int(places[0])
        middle = [(n - 1) / 2 for n in self.anatomy.shape]
        middle[self.axis] = place
        mm = float((self.affine @ [*middle, 1.0])[self.axis])

        def cut(a: xr.DataArray) -> np.ndarray:
            return np.asarray(a.isel({self.dim: place}).values).T

        return _Plane(
            cut(self.anatomy),
            cut(self.attribution),
            None if self.atlas is None else cut(self.atlas),
            self.extent(place),
            f"{NAMES[self.axis]} = {mm:.3g} mm",
        )


class SlicePanels:
    """A figure of three panels for many slices of one volume; `draw` puts another slice into the same figure."""

    def __init__(
        self, anatomy: xr.DataArray, attribution: xr.DataArray, dim: str, atlas: xr.DataArray | None = None,
        percentile: float = 95.0, label: str = "attribution", title: str = "",
    ) -> None:  # fmt: skip
        self.views = _Views.of(anatomy, attribution, atlas, dim)
        self.colours = colours_of(attribution, percentile)
        self.title, self.dim = title, dim
        wide, high = self.views.panel(PANEL)
        left, gap, right, top, bottom = 0.55, 0.12, 1.0, 0.62, 0.5
        self.figure = _figure((left + 3 * wide + 2 * gap + right, top + high + bottom))
        width, height = self.figure.get_size_inches()
        headings = ("", "attribution", f"largest {100 - percentile:g}%")
        self.panels: list[Any] = []
        for n, heading in enumerate(headings):
            box = ((left + n * (wide + gap)) / width, bottom / height, wide / width, high / height)
            ax = self.figure.add_axes(box)
            ax.set_title(heading, fontsize=9)
            self.panels.append(ax)
        blank = self.views.plane(
            int(self.views.anatomy[dim].values[0]) if dim in self.views.anatomy.coords else 0
        )
        grey = _grey(anatomy)
        layout = {"origin": "lower", "extent": blank.extent}
        self.images = [
            self.panels[0].imshow(blank.anatomy, cmap="gray", **grey, **layout),
            self.panels[1].imshow(blank.attribution, **self.colours.picture(), **layout),
            self.panels[2].imshow(blank.anatomy, cmap="gray", **grey, **layout),
            self.panels[2].imshow(self.colours.over(blank.attribution), **layout),
        ]
        for n, ax in enumerate(self.panels):
            light = n == 1 and self.colours.signed
            _marks(ax, self.views, first=n == 0, last=True, colour="black" if light else "white")
        _bar(self.figure, self.colours, label, (left + 3 * wide + 2 * gap + 0.1, bottom, high), percentile)
        self.heading = self.figure.text(0.01, 1 - 0.06 / height, title, fontsize=10, va="top")
        self.lines: list[Any] = []

    def draw(self, index: int) -> Figure:
        """The figure with a slice."""
        plane = self.views.plane(index)
        for image, values in zip(
            self.images, (plane.anatomy, plane.attribution, plane.anatomy, self.colours.over(plane.attribution)), strict=True
        ):  # fmt: skip
            image.set_data(values)
            image.set_extent(plane.extent)
        self.panels[0].set_title(f"anatomy, {plane.position}", fontsize=9)
        for line in self.lines:
            line.remove()
        self.lines = [drawn for ax in self.panels[1:] for drawn in _outline(ax, plane)]
        return self.figure


def _turned_like(a: xr.DataArray, anatomy: xr.DataArray) -> xr.DataArray:
    """Another array on the voxels of `anatomy`, turned as it was."""
    if AFFINE in a.coords:
        return anatomical(a)
    grid = {c: v for c, v in anatomy.coords.items() if set(v.dims) <= set(VOXEL_DIMS)}
    return anatomical(a.assign_coords(grid))


def _figure(size: tuple[float, float]) -> Figure:
    """A figure without automatic layout, which takes longer than the drawing."""
    from attrib.plots.scale import figure

    drawing = figure(size)
    drawing.set_layout_engine("none")
    return drawing


def _grey(anatomy: xr.DataArray) -> dict[str, Any]:
    low, high = np.percentile(anatomy.values, [1, 99.5])
    return {"vmin": float(low), "vmax": float(high if high > low else low + 1)}


def _marks(ax: Any, views: _Views, *, first: bool, last: bool, colour: str) -> None:
    """Ends of both axes as letters inside the panel, mm along the outer ones."""
    from matplotlib.patheffects import withStroke
    from matplotlib.ticker import MaxNLocator

    halo = [withStroke(linewidth=2, foreground="white" if colour == "black" else "black")]
    for n, places in ((views.across, ((0.02, 0.5), (0.98, 0.5))), (views.up, ((0.5, 0.02), (0.5, 0.98)))):
        for letter, (x, y), which in zip(ENDS[n], places, ("low", "high"), strict=True):
            sides = {"low": ("left", "bottom"), "high": ("right", "top")}[which]
            ax.text(
                x, y, letter, transform=ax.transAxes, fontsize=8, color=colour, fontweight="bold", path_effects=halo,
                ha=sides[0] if n == views.across else "center", va=sides[1] if n == views.up else "center",
            )  # fmt: skip
    ax.tick_params(labelsize=7, length=2, pad=1.5)
    low_x, high_x, low_y, high_y = views.window
    ax.set_xlim(low_x, high_x)
    ax.set_ylim(low_y, high_y)
    for side in (ax.xaxis, ax.yaxis):
        side.set_major_locator(MaxNLocator(4, prune="both"))
    if first:
        ax.set_ylabel(f"{NAMES[views.up]} (mm)", fontsize=8, labelpad=1)
    else:
        ax.set_yticklabels([])
    if last:
        ax.set_xlabel(f"{NAMES[views.across]} (mm)", fontsize=8, labelpad=1)
    else:
        ax.set_xticklabels([])


def _outline(ax: Any, plane: _Plane) -> list[Any]:
    """Borders between pixels of different regions."""
    if plane.atlas is None:
        return []
    from matplotlib.collections import LineCollection

    low_x, high_x, low_y, high_y = plane.extent
    rows, columns = plane.atlas.shape
    xs, ys = np.linspace(low_x, high_x, columns + 1), np.linspace(low_y, high_y, rows + 1)
    r, c = np.nonzero(plane.atlas[:, 1:] != plane.atlas[:, :-1])
    upright = np.stack([np.stack([xs[c + 1], ys[r]], 1), np.stack([xs[c + 1], ys[r + 1]], 1)], 1)
    r, c = np.nonzero(plane.atlas[1:] != plane.atlas[:-1])
    level = np.stack([np.stack([xs[c], ys[r + 1]], 1), np.stack([xs[c + 1], ys[r + 1]], 1)], 1)
    lines = LineCollection([*upright, *level], colors="#3fae5f", linewidths=0.6, alpha=0.8)
    return [ax.add_collection(lines, autolim=False)]


def _bar(
    figure: Figure, colours: Colours, label: str, place: tuple[float, float, float], percentile: float
) -> None:
    """A short colour bar; its ends, and what is left out, are written."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    width, height = figure.get_size_inches()
    left, bottom, high = place
    ax = figure.add_axes((left / width, (bottom + 0.15 * high) / height, 0.11 / width, 0.7 * high / height))
    options = colours.picture()
    scale = ScalarMappable(Normalize(options["vmin"], options["vmax"]), options["cmap"])
    bar = figure.colorbar(scale, cax=ax)
    ticks = [-colours.limit, -colours.threshold, 0, colours.threshold, colours.limit] if colours.signed else [0, colours.threshold, colours.limit]  # fmt: skip
    near = colours.threshold > 0.85 * colours.limit or colours.threshold < 0.12 * colours.limit
    bar.set_ticks([t for t in ticks if not near or abs(t) != colours.threshold])
    bar.ax.set_yticklabels([number(t) for t in bar.get_ticks()], fontsize=7)
    bar.set_label(label, fontsize=7)
