"""One subject through the model: its prediction and its attributions, as a volume or slice by slice."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from torch import Tensor, nn

from attrib._arguments import near
from attrib.functional import prepare
from attrib.labels import deletion, labelled, predict
from attrib.labels.grids import VOXEL_DIMS
from attrib.scale.loading import first_line
from attrib.workflows.mri.plan import BY_REGION, Plan
from attrib.workflows.plan import ALL_METHODS, Context
from attrib.workflows.study import CONTROLS, STEPS

JUDGED = 8  # slices of a subject that are compared with random orders: so many, or up to 15
FOLDED = "the model seems to fold slices into the batch; pass `input` slices, so that each slice is a sample"


class Prediction(NamedTuple):
    """What the model says of a subject.

    Attributes
    ----------
    logits : array (C,)
        Of slices the mean over them.
    probability : array (classes,)
    classes : tuple of str
    target : int
        The output that is explained.
    target_name : str
    """

    logits: np.ndarray
    probability: np.ndarray
    classes: tuple[str, ...]
    target: int
    target_name: str

    @property
    def predicted(self) -> str:
        """The class of the largest probability."""
        return self.classes[int(self.probability.argmax())]

    @property
    def score(self) -> float:
        """The output that is explained."""
        return float(self.logits[self.target])


class Explained(NamedTuple):
    """A subject's results.

    Attributes
    ----------
    prediction : Prediction
    maps : dict of str to DataArray (i, j, k)
        By method.
    delta : dict of str to float
        Completeness errors of the methods that have one.
    deletion : dict of str to dict of str to float
        By method, of subjects that are judged: `deletion_area`, `deletion_random_area`, `deletion_z`.
    """

    prediction: Prediction
    maps: dict[str, xr.DataArray]
    delta: dict[str, float]
    deletion: dict[str, dict[str, float]]


class OneSlice(nn.Module):
    """A model of volumes that folds slices into the batch, as a model of slices: each goes in as a volume of one slice.

    Parameters
    ----------
    model : Module
    place : int
        Of the dim across slices, among those of a row.
    """

    def __init__(self, model: nn.Module, place: int) -> None:
        super().__init__()
        self.model, self.place = model, place

    def forward(self, x: Tensor, *beside: Any, **named: Any) -> Any:
        """The model's output for slices (N, C, ., .)."""
        return self.model(x.unsqueeze(self.place), *beside, **named)


class Explainer:
    """A model, and how volumes go through it.

    Parameters
    ----------
    model : callable
    plan : Plan
    across : str
        The dim across slices.
    context : Context, optional
        What goes into the model beside a subject's volume, or beside each of its slices.
    """

    def __init__(
        self, model: Callable[..., Any], plan: Plan, across: str, context: Context | None = None
    ) -> None:
        self.model, self.plan, self.across = prepare(model), plan, across
        self.context = context or Context()
        self._bare = model
        self.channels = 1  # of the model's input; each gets the volume
        self._layers: dict[str, str] = {}
        self._tried: xr.DataArray | None = None

    def try_out(self, volume: xr.DataArray, subject: str = "") -> Prediction:
        """Call the model with a volume, and find how slices and how many channels go in.

        Raises
        ------
        ValueError
            If the model fails on it, with the shape that it got.
        """
        self._tried = volume
        try:
            logits = self._logits(volume, subject)
        except Exception as error:  # the user's code
            logits = self._otherwise(volume, subject, first_line(error))
        return self._settled(logits)

    def _otherwise(self, volume: xr.DataArray, subject: str, reason: str) -> np.ndarray:
        """Outputs for several channels, or for one slice in each volume, after the model failed for this reason."""
        shape = tuple(self.rows(volume).shape)
        several = _channels(self._bare)
        if several > 1:
            self.channels = several
            try:
                return self._logits(volume, subject)
            except Exception:  # the user's code; the first reason is the plainer one
                self.channels = 1
        if self.plan.input == "slices" and isinstance(self._bare, nn.Module):
            self.model = prepare(OneSlice(self._bare, 2 + VOXEL_DIMS.index(self.across)))
            if self.plan.layer != "auto":
                self.plan = replace(self.plan, layer=f"model.{self.plan.layer}")
            try:
                return self._logits(volume, subject)
            except Exception:  # the user's code; the first reason is the plainer one
                pass
        hint = (
            "a model of slices takes `input` slices"
            if self.plan.input == "volume"
            else "a model of volumes takes `input` volume"
        )
        raise ValueError(
            f"the model fails on {'slices' if self.plan.input == 'slices' else 'a volume'} of shape {shape} ({reason}); {hint}"
        )

    def predict(self, volume: xr.DataArray, subject: str = "") -> Prediction:
        """What the model says of a subject; its name finds what goes in beside its volume."""
        return self._settled(self._logits(volume, subject))

    def _logits(self, volume: xr.DataArray, subject: str) -> np.ndarray:
        """The outputs for a subject; of slices the mean over them."""
        x = self.rows(volume)
        y = predict(
            self.model,
            x,
            additional_forward_args=self.context.of_one(subject, len(x)).of(x),
            sample_dims=self.sample_dims,
            batch_size=self.plan.batch_size,
            device=self.plan.device,
        )
        values = np.asarray(y.values, dtype=np.float64).reshape(len(y), -1)
        if len(values) != len(x):
            raise ValueError(f"the model gives {len(values)} scores for {len(x)} samples")
        return values.mean(0)

    def _settled(self, logits: np.ndarray) -> Prediction:
        """Probabilities, class names and the target for these outputs."""
        single = len(logits) == 1
        count = 2 if single else len(logits)
        classes = self.plan.classes or tuple(str(n) for n in range(count))
        if len(classes) != count:
            raise ValueError(
                f"`classes` has {len(classes)} names, but the model has {len(logits)} output{'s' * (not single)}"
            )
        both = np.array([0.0, logits[0]]) if single else logits
        exponentials = np.exp(both - both.max())
        probability = exponentials / exponentials.sum()
        wanted = self.plan.target or classes[-1]
        if wanted == "predicted":
            wanted = classes[int(probability.argmax())] if not single else classes[-1]
        if wanted not in classes:
            raise ValueError(
                f"`target` is {wanted!r}, which is not among the classes {', '.join(classes)}{near(wanted, classes)}"
            )
        if single and wanted != classes[-1]:
            raise ValueError(
                f"`target` is {wanted!r}, but the one output is the score of {classes[-1]}; explain that"
            )
        return Prediction(logits, probability, classes, 0 if single else classes.index(wanted), wanted)

    @property
    def sample_dims(self) -> tuple[Hashable, ...]:
        """The dims of the model's samples."""
        return ("sample",) if self.plan.input == "volume" else (self.across,)

    def rows(self, volume: xr.DataArray) -> xr.DataArray:
        """A volume as the model's input: itself, or its slices."""
        if self.plan.input == "volume":
            x = volume.expand_dims(sample=["subject"], channel=self.channels)
            return x.transpose("sample", "channel", *VOXEL_DIMS)
        if self.plan.slices is not None:
            first, last = self.plan.slices
            volume = volume.sel({self.across: slice(first, last)})
        flat = [d for d in VOXEL_DIMS if d != self.across]
        x = volume.expand_dims(channel=self.channels)
        return x.transpose(self.across, "channel", *flat)

    def explain(
        self,
        volume: xr.DataArray,
        regions: xr.DataArray | None,
        baselines: xr.DataArray | None,
        judged: bool = False,
        subject: str = "",
    ) -> Explained:
        """The attributions of a subject.

        Parameters
        ----------
        volume : DataArray (i, j, k)
        regions : DataArray (i, j, k) or None
            Whole numbers; 0 is no region, and methods by region take all of it for one more.
        baselines : DataArray or None
            (i, j, k), or with a dim `baseline` in front; None: zeros.
        judged : bool, default False
            Whether maps are compared with random orders by deletion.
        subject : str, default ""
            Its name, by which it is found what goes in beside its volume.

        Raises
        ------
        ValueError, TypeError, NotImplementedError
            As the methods.
        """
        x, prediction = self.rows(volume), self.predict(volume, subject)
        context = self.context.of_one(subject, len(x))
        results: dict[str, xr.DataArray] = {}
        for method in self.plan.methods:
            base, arguments = self.plan.arguments(
                method, prediction.target, None if baselines is None else self._laid_out(baselines)
            )
            options = {**replace(arguments, context=context).passing(x), **arguments.by_method[base]}
            lead = (options.pop("method"),) if "method" in options else ()
            if method in BY_REGION and regions is not None:
                options["groups"] = self._laid_out(regions)
            try:
                if options.get("layer") == "auto":
                    options["layer"] = self._layer_of(base, x, options, context)
                results[method] = labelled(ALL_METHODS[base])(
                    *lead, self.model, x, **options, sample_dims=self.sample_dims
                )
            except (ValueError, TypeError, NotImplementedError) as error:
                raise _advised(error, method, self.plan) from error
        return Explained(
            prediction,
            {m: self._volume(a, volume, prediction) for m, a in results.items()},
            {m: float(a["delta"].mean()) for m, a in results.items() if "delta" in a.coords},
            self._deletion(x, results, prediction.target, context, baselines) if judged else {},
        )

    def _deletion(
        self, x: xr.DataArray, results: Mapping[str, xr.DataArray], target: int, context: Context, baselines: xr.DataArray | None
    ) -> dict[str, dict[str, float]]:  # fmt: skip
        """Deletion of all maps beside the same random orders, of a volume or of some of its slices: areas are means over them, z the median."""
        dim = self.sample_dims[0]
        some = {dim: slice(None, None, max(1, len(x) // JUDGED))}
        start: Any = 0.0 if baselines is None else self._laid_out(baselines)
        if isinstance(start, xr.DataArray):
            start = start.mean("baseline") if "baseline" in start.dims else start
            start = start.isel(some) if dim in start.dims else start
        maps = xr.concat(
            [a.sum([d for d in a.dims if d not in (dim, *VOXEL_DIMS)]).isel(some).drop_vars("delta", errors="ignore") for a in results.values()],
            "target", coords="minimal", compat="override", combine_attrs="drop",
        )  # fmt: skip
        x = x.isel(some)
        curve = deletion(
            self.model, x, maps, baselines=start, steps=STEPS, n_random=CONTROLS, targets=[[target] * len(x)] * len(results), batch_size=self.plan.batch_size,
            device=self.plan.device, seed=self.plan.seed, additional_forward_args=context.part(some[dim]).of(x), sample_dims=self.sample_dims,
        )  # fmt: skip
        return {
            m: {f"deletion_{n}": float(curve[n][k].mean()) for n in ("area", "random_area")}
            | {"deletion_z": float(curve["z"][k].median())}
            for k, m in enumerate(results)
        }

    def _layer_of(self, base: str, x: xr.DataArray, options: Mapping[str, Any], context: Context) -> str:
        """The layer that is found by itself, the same for all subjects.

        It is sought on the row that varies most of the subject with which the model was tried: empty slices may not reach the output.
        """
        if base not in self._layers:
            x = x if self._tried is None else self.rows(self._tried)
            fullest = int(
                x.stack(inside=[d for d in x.dims if d not in self.sample_dims]).std("inside").values.argmax()
            )
            one_row = x.isel({self.sample_dims[0]: [fullest]})
            first = context.part(slice(1)).of(one_row)  # a subject's rows have the same values
            options = {**options, "additional_forward_args": first}
            self._layers[base] = str(labelled(ALL_METHODS[base])(self.model, one_row, **options, sample_dims=self.sample_dims).attrs["layer"])  # fmt: skip
        return self._layers[base]

    def _volume(self, a: xr.DataArray, volume: xr.DataArray, prediction: Prediction) -> xr.DataArray:
        """An attribution as a volume: of slices, of the mean of their scores, so that it is divided by their number."""
        slices = 1 if self.plan.input == "volume" else a.sizes[self.across]
        extra = [d for d in a.dims if d not in VOXEL_DIMS]
        values = a.sum(extra) / slices
        on_grid = (
            values.transpose(*VOXEL_DIMS).reindex_like(volume, fill_value=0.0)
            if slices < volume.sizes[self.across]
            else values.transpose(*VOXEL_DIMS)
        )
        units = str(a.attrs.get("units", "output")).replace("output", f"score of {prediction.target_name}")
        attrs = {k: v for k, v in a.attrs.items() if k != "layer"} | {"units": units}
        return volume.copy(data=np.asarray(on_grid.values, dtype=np.float32)).assign_attrs(attrs)

    def _laid_out(self, a: xr.DataArray) -> xr.DataArray:
        """Another volume, or several along a dim in front, with the rows' dims; the volume itself needs no dim of samples."""
        if self.plan.input == "volume":
            return a.drop_vars([c for c in a.coords if c not in a.dims])
        if self.plan.slices is not None:
            a = a.sel({self.across: slice(*self.plan.slices)})
        front = [d for d in a.dims if d not in VOXEL_DIMS]
        flat = [d for d in VOXEL_DIMS if d != self.across]
        a = a.drop_vars([c for c in a.coords if c not in a.dims])
        return a.transpose(*front, self.across, *flat)


def _channels(model: Any) -> int:
    """The channels that a module's first convolution takes."""
    modules = model.modules() if isinstance(model, nn.Module) else ()
    return next((m.in_channels for m in modules if isinstance(m, nn.Conv2d | nn.Conv3d)), 1)


def _advised(error: Exception, method: str, plan: Plan) -> Exception:
    """The error with the method's name, and with what to do where slices are folded into the batch."""
    text = str(error)
    folded = (
        plan.input == "volume" and ALL_METHODS.get(method) is not None and ALL_METHODS[method].about.layer
    )
    hint = f"; {FOLDED}" if folded and ("`layer`" in text or "expected floats" in text) else ""
    return type(error)(f"{method}: {text}{hint}")
