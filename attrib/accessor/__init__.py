"""`a.attrib`: what can be done with a result, on the result itself; and what a notebook shows of it.

xarray is not imported here, and nothing else that takes long: `install` waits for whoever imports it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from attrib.accessor.results import Results

if TYPE_CHECKING:
    import xarray as xr


__all__ = ["Results", "install", "shown"]


def install() -> None:
    """Give DataArrays and Datasets their `attrib`: now if xarray is there, else as soon as somebody imports it."""
    module = sys.modules.get("xarray")
    if module is None:
        sys.meta_path.insert(0, _Waiting())
    elif hasattr(module, "register_dataset_accessor"):
        _register(module)


class _Waiting:
    """A finder that finds nothing: it lets the import of xarray go its way, and registers the accessor after it."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The spec of xarray as the other finders give it, with a loader that registers once; of all else nothing."""
        if name != "xarray":
            return None
        from importlib.util import find_spec

        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        loader, execute = spec.loader, spec.loader.exec_module

        def executed(module: Any) -> None:
            del loader.exec_module  # the loader is as it was
            execute(module)
            _register(module)

        loader.exec_module = executed  # type: ignore[method-assign]
        return spec


def _register(xarray: Any) -> None:
    """Register the accessor, and in a notebook the view of results."""
    for kind, register in (
        (xarray.DataArray, xarray.register_dataarray_accessor),
        (xarray.Dataset, xarray.register_dataset_accessor),
    ):
        if "attrib" not in vars(kind):
            register("attrib")(Results)
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None:
        formatter = shell.display_formatter.formatters["text/html"]
        for kind in (xarray.DataArray, xarray.Dataset):
            formatter.for_type(kind, shown)


def shown(result: xr.DataArray | xr.Dataset) -> str:
    """What a notebook shows of an array: of a result of attrib its view, and below it xarray's own.

    Parameters
    ----------
    result : DataArray or Dataset
        Any; of arrays that are no results of attrib, xarray's own alone.

    Returns
    -------
    str
        HTML.
    """
    view = Results(result)._repr_html_() if "attrib_version" in result.attrs else ""
    return view + result._repr_html_()
