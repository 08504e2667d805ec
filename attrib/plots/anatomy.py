"""Attributions of volumes on slices of the anatomy: right and left, mm, atlas outlines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from attrib._public import public
from attrib.labels.grids import AFFINE, VOXEL_DIMS, affine_of, anatomical, foreground
from attrib.plots.scale import DIVERGING, inches, number, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEQUENTIAL = "inferno"
PERCENTILE = 99.5  # of magnitudes that are not 0, where the colours end
NAMES = ("x", "y", "z")
ENDS = (("L", "R"), ("P", "A"), ("I", "S"))
PANEL = 2.6  # inches, the longer side of a panel
TITLE = 10  # points


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


@public
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
    ['anatomy, z = 8 mm (k = 4)', 'attribution', 'largest 5%']
    """
    return SlicePanels(anatomy, attribution, dim, atlas, percentile, label, title).draw(index)


@public
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
    >>> panels, bar = slice_summary(a, a, "k", [2, 4, 6]).axes
    >>> len(panels.images)
    9
    """
    if not indices:
        raise ValueError("`indices` is empty, expected at least one slice")
    views = _Views.of(anatomy, attribution, atlas, dim)
    colours = colours_of(attribution, percentile)
    grey = _grey(anatomy)
    wide, high = views.panel(PANEL * 0.75)  # inches
    left, top, bottom, gap = 0.55, 0.62, 0.5, 0.08
    inside = len(indices) * (wide + gap) - gap, 2 * (high + gap) - gap
    label, right = _beside(label, high)
    across = max(left + inside[0] + gap + right, 0.2 + inches(title, TITLE))
    figure = _figure((across, top + inside[1] + gap + bottom))
    width, height = figure.get_size_inches()
    ax = figure.add_axes((left / width, bottom / height, inside[0] / width, inside[1] / height))
    low_x, high_x, low_y, high_y = views.window
    # all panels lie in one axes, for axes take longer than what they show
    inch = (high_x - low_x) / wide  # in mm
    ticks: list[tuple[float, float]] = []
    for column, index in enumerate(indices):
        plane = views.plane(index)
        over_x = column * (wide + gap) * inch - low_x
        ticks += [(t + over_x, t) for t in _ticks(low_x, high_x)]
        for row in range(2):
            over_y = (1 - row) * (high + gap) * inch - low_y
            frame = (low_x + over_x, high_x + over_x, low_y + over_y, high_y + over_y)
            extent = tuple(np.add(plane.extent, (over_x, over_x, over_y, over_y)))
            images = [ax.imshow(plane.anatomy, cmap="gray", origin="lower", extent=extent, **grey)]
            if row == 1:
                images.append(ax.imshow(colours.over(plane.attribution), origin="lower", extent=extent))
                images.append(_outline(ax, plane._replace(extent=extent)))
            _frame(ax, frame, images)
            _letters(ax, views, frame, "white")
            if column == 0:
                ax.text(
                    frame[0] + 0.06 * inch, frame[3] - 0.05 * inch, f"largest {100 - percentile:g}%" if row else "anatomy",
                    fontsize=7, color="white", ha="left", va="top", path_effects=_halo("black"),
                )  # fmt: skip
        ax.text(
            over_x + (low_x + high_x) / 2, (2 * high + gap + 0.04) * inch, f"{plane.position}\n{dim} = {index}",
            fontsize=8, ha="center", va="bottom",
        )  # fmt: skip
    ax.set_xlim(0, inside[0] * inch)
    ax.set_ylim(0, inside[1] * inch)
    ax.spines[:].set_visible(False)
    ax.set_xticks([t for t, _ in ticks], [f"{v:g}" for _, v in ticks])
    ticks = [(v - low_y + r * (high + gap) * inch, v) for r in range(2) for v in _ticks(low_y, high_y)]
    ax.set_yticks([t for t, _ in ticks], [f"{v:g}" for _, v in ticks])
    _name_axes(ax, views)
    _bar(figure, colours, label, (left + inside[0] + 0.16, bottom, high), percentile)
    figure.text(0.01, 1 - 0.06 / height, title, fontsize=TITLE, va="top")
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
        """Edges in mm of what is not background, and a margin."""
        inside = foreground(self.anatomy.values)
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
        left, gap, top, bottom = 0.55, 0.12, 0.62, 0.5
        label, right = _beside(label, high)
        self.figure = _figure(
            (max(left + 3 * wide + 2 * gap + right, 0.2 + inches(title, TITLE)), top + high + bottom)
        )
        width, height = self.figure.get_size_inches()
        headings = ("", "attribution", f"largest {100 - percentile:g}%")
        self.panels: list[Any] = []
        for n, heading in enumerate(headings):
            box = ((left + n * (wide + gap)) / width, bottom / height, wide / width, high / height)
            ax = self.figure.add_axes(box)
            ax.set_title(heading, fontsize=9, y=1.0)
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
        window = self.views.window
        for n, ax in enumerate(self.panels):
            _letters(ax, self.views, window, "black" if n == 1 and self.colours.signed else "white")
            _name_axes(ax, self.views)
            ax.set_xlim(*window[:2])
            ax.set_ylim(*window[2:])
            ax.set_xticks(_ticks(*window[:2]))
            ax.set_yticks(_ticks(*window[2:]))
            ax.yaxis.set_visible(n == 0)
        _bar(self.figure, self.colours, label, (left + 3 * wide + 2 * gap + 0.1, bottom, high), percentile)
        self.heading = self.figure.text(0.01, 1 - 0.06 / height, title, fontsize=TITLE, va="top")
        self.lines = [_outline(ax, blank) for ax in self.panels[1:]]
        self._fixed: Any = None

    def draw(self, index: int) -> Figure:
        """The figure with a slice."""
        plane = self.views.plane(index)
        for image, values in zip(
            self.images, (plane.anatomy, plane.attribution, plane.anatomy, self.colours.over(plane.attribution)), strict=True
        ):  # fmt: skip
            image.set_data(values)
            image.set_extent(plane.extent)
        self.panels[0].set_title(f"anatomy, {plane.position} ({self.dim} = {index})", fontsize=9, y=1.0)
        for line in self.lines:
            line.set_data(*_borders(plane))
        return self.figure

    def save(self, index: int, path: str | Path) -> None:
        """Write the figure with a slice as PNG: axes, their numbers and the colour bar are drawn once for all slices."""
        canvas: Any = self.draw(index).canvas
        inside = [a for ax in self.panels for a in (*ax.images, *ax.texts, *ax.spines.values())]
        moving = [*inside, *self.lines, self.panels[0].title]
        if self._fixed is None:
            for artist in moving:
                artist.set_visible(False)
            canvas.draw()
            self._fixed = canvas.copy_from_bbox(self.figure.bbox)
            for artist in moving:
                artist.set_visible(True)
        canvas.restore_region(self._fixed)
        for artist in sorted(moving, key=lambda a: a.get_zorder()):
            self.figure.draw_artist(artist)
        write_png(canvas, path)


def write_png(canvas: Any, path: str | Path, draw: bool = False) -> None:
    """Write what is on a canvas, drawn first if `draw`, without opacity; a low level of compression is the quickest for its size."""
    from PIL import Image

    if draw:
        canvas.draw()
    Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).save(path, format="png", compress_level=3)


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


def _beside(label: str, high: float) -> tuple[str, float]:
    """The colour bar's label in lines as long as a panel is high, and the inches that bar, numbers and lines take."""
    lines = [t for line in label.splitlines() for t in wrapped(line, max(16, int(high / 0.056))).splitlines()]
    return "\n".join(lines), 0.85 + 0.12 * len(lines)


def _grey(anatomy: xr.DataArray) -> dict[str, Any]:
    low, high = np.percentile(anatomy.values, [1, 99.5])
    return {"vmin": float(low), "vmax": float(high if high > low else low + 1)}


def _ticks(low: float, high: float) -> list[float]:
    """A few round numbers between the ends, none of them near an end."""
    from matplotlib.ticker import MaxNLocator

    inside = MaxNLocator(4, prune="both").tick_values(low, high)
    return [float(t) for t in inside if low <= t <= high]


def _name_axes(ax: Any, views: _Views) -> None:
    ax.tick_params(labelsize=7, length=2, pad=1.5)
    ax.set_xlabel(f"{NAMES[views.across]} (mm)", fontsize=8, labelpad=1)
    ax.set_ylabel(f"{NAMES[views.up]} (mm)", fontsize=8, labelpad=1)


def _letters(ax: Any, views: _Views, frame: tuple[float, ...], colour: str) -> None:
    """The ends of both directions as letters inside a panel whose edges are `frame`."""
    low_x, high_x, low_y, high_y = frame
    halo = _halo("white" if colour == "black" else "black")
    for n, places in ((views.across, ((0.02, 0.5), (0.98, 0.5))), (views.up, ((0.5, 0.02), (0.5, 0.98)))):
        for letter, (x, y), which in zip(ENDS[n], places, ("low", "high"), strict=True):
            sides = {"low": ("left", "bottom"), "high": ("right", "top")}[which]
            ax.text(
                low_x + x * (high_x - low_x), low_y + y * (high_y - low_y), letter, fontsize=8, color=colour, fontweight="bold",
                path_effects=halo, ha=sides[0] if n == views.across else "center", va=sides[1] if n == views.up else "center",
            )  # fmt: skip


def _halo(colour: str) -> list[Any]:
    """Around letters over an image."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2, foreground=colour)]


def _frame(ax: Any, frame: tuple[float, ...], artists: Sequence[Any]) -> None:
    """A panel's edges, at which images and lines end."""
    from matplotlib.patches import Rectangle

    low_x, high_x, low_y, high_y = frame
    edge = Rectangle((low_x, low_y), high_x - low_x, high_y - low_y, fill=False, linewidth=0.8, clip_on=False)
    ax.add_patch(edge)
    for artist in artists:
        artist.set_clip_path(edge)


def _outline(ax: Any, plane: _Plane) -> Any:
    """A line along the borders between pixels of different regions."""
    (line,) = ax.plot(*_borders(plane), color="#3fae5f", linewidth=0.6, alpha=0.8, solid_capstyle="butt")
    return line


def _borders(plane: _Plane) -> tuple[np.ndarray, np.ndarray]:
    """Both coordinates of the borders between pixels of different regions, each border followed by a gap."""
    if plane.atlas is None:
        return np.empty(0), np.empty(0)
    low_x, high_x, low_y, high_y = plane.extent
    rows, columns = plane.atlas.shape
    xs, ys = np.linspace(low_x, high_x, columns + 1), np.linspace(low_y, high_y, rows + 1)
    r, c = np.nonzero(plane.atlas[:, 1:] != plane.atlas[:, :-1])
    up, right = np.nonzero(plane.atlas[1:] != plane.atlas[:-1])
    gaps = np.full(len(r) + len(up), np.nan)
    first = np.concatenate([xs[c + 1], xs[right]]), np.concatenate([ys[r], ys[up + 1]])
    last = np.concatenate([xs[c + 1], xs[right + 1]]), np.concatenate([ys[r + 1], ys[up + 1]])
    x, y = (np.stack([a, b, gaps], 1).ravel() for a, b in zip(first, last, strict=True))
    return x, y


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
