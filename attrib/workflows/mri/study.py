"""The study of magnetic resonance images: from a table of subjects to maps in their own space, figures and group statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from attrib._install import install_hint
from attrib.domains.mri import Subject, evenly, plane_dim, read_subjects, slice_at
from attrib.domains.mri import key_slices as middle_slices
from attrib.io.nifti import nibabel_module
from attrib.labels.grids import VOXEL_DIMS, foreground
from attrib.scale.loading import first_line, model_of
from attrib.scale.runners import shares
from attrib.workflows.data import class_names, places_of
from attrib.workflows.folder import Folder, digest, fingerprint, picture_count, read_mapping, refuse_below_one
from attrib.workflows.mri.cohort import Done, write_cohort
from attrib.workflows.mri.explaining import Explainer
from attrib.workflows.mri.intake import Cohort, cohort_of, with_classes
from attrib.workflows.mri.plan import (
    METHODS,
    Factory,
    Images,
    Plan,
    Voxels,
    checked,
    refuse_odd_statistics,
)
from attrib.workflows.mri.subjectfiles import is_correct, map_name, read_part
from attrib.workflows.mri.worker import Mri, Worker, reference_subjects
from attrib.workflows.plan import context_of
from attrib.workflows.runner import studied
from attrib.workflows.study import Tell

LARGE = 1_000_000  # voxels above which more volumes in a call gain nothing and take memory
JUDGED = 20  # subjects whose maps are compared with random orders by deletion
Say = Callable[[str], None]


def mri(
    data: str | Path,
    model: str | Factory | Callable[..., Any],
    output: str | Path,
    *,
    weights: str | Path | None = None,
    classes: str | Sequence[str] | None = None,
    target: str | None = None,
    methods: Sequence[str] = METHODS,
    options: Mapping[str, Any] | None = None,
    baselines: str = "zeros",
    layer: str = "auto",
    context: Sequence[str] = (),
    images: Images | None = None,
    samples: Sequence[str] | None = None,
    max_samples: int | None = None,
    pictures: int | str = 50,
    voxels: Voxels | None = None,
    batch_size: int | str = "auto",
    device: str | None = None,
    cluster: Any = None,
    seed: int = 0,
    overwrite: bool = False,
    tell: Tell | None = None,
    say: Say = lambda line: None,
) -> Path:
    """Explain a classifier of volumes, or of their slices, for a table of subjects.

    Parameters
    ----------
    data : path
        A table of subjects, see `attrib.domains.mri.read_subjects`.
    model : str, Factory or callable
        As for `attrib.scale.loading.load_model`, with or without a file of its arguments; or the model itself.
    output : path
        Folder for the results. One that holds a run with the same settings is continued: subjects that are done are not
        done again.
    weights : path, optional
        A state dict.
    classes : str or sequence of str, optional
        Names of the outputs: a sequence, a text with commas, or a file with one per line. A model of one output has two.
    target : str, optional
        The class whose score is explained, or ``"predicted"``; default: the last class.
    methods : sequence of str
        Names of the register, and ``noise_tunnel_ig``.
    options : mapping, optional
        More arguments of methods: ``n_steps``, ``gradient_shap.n_samples``, ``noise_tunnel_ig.n_steps``.
    baselines : str, default "zeros"
        ``"mean:LABEL"``, ``"samples:LABEL"`` (a distribution), ``"blurred"``, a number, or an image.
    layer : str, default "auto"
        Of Grad-CAM and its like.
    context : sequence of str
        Tables or files with what the model takes beside the images, matched to subjects by name; see
        `attrib.workflows.explain.explain`: age, sex, scanner.
    images : Images, optional
        How images go in: volumes or slices, orientation, intensity, mask, atlas; and which slices are drawn.
    samples : sequence of str, optional
        Subjects by name; default: all.
    max_samples : int, optional
        At most so many, drawn evenly over labels.
    pictures : int, "all" or "none"
        Subjects that are drawn.
    voxels : Voxels, optional
        Statistics of voxels.
    batch_size, device
        As for every method.
    cluster : int, str or Client, optional
        Worker processes, or the address of a Dask scheduler whose workers see the same files; default: this process. Subjects go to them one
        by one.
    seed : int, default 0
        Of all draws.
    overwrite : bool, default False
        Whether to begin anew in a folder of an earlier run.
    tell, say : callable, optional
        Progress, and lines for the user.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ValueError
        For arguments that do not fit, before anything is written, and if no subject can be explained.
    ImportError
        If nibabel or nilearn is missing: they are in the extra ``mri``.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import nibabel, numpy as np, torch
    >>> from attrib.workflows.mri import mri
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> rng = np.random.default_rng(0)
    >>> lines = ["subject,path,label"]
    >>> for k in range(2):
    ...     volume = nibabel.Nifti1Image(rng.normal(size=(6, 7, 5)).astype("float32"), np.diag([2.0, 2, 2, 1]))
    ...     nibabel.save(volume, folder / f"sub-{k}.nii.gz")
    ...     lines.append(f"sub-{k},sub-{k}.nii.gz,{('HC', 'TLE')[k]}")
    >>> _ = (folder / "subjects.csv").write_text("\\n".join(lines))
    >>> _ = torch.manual_seed(0)
    >>> network = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(120, 2)).eval()
    >>> results = mri(
    ...     folder / "subjects.csv", network, folder / "results", classes="HC,TLE", methods=["saliency"], pictures="none"
    ... )
    >>> nibabel.load(results / "saliency" / "sub-0" / "sub-0_saliency.nii.gz").shape
    (6, 7, 5)
    """
    nibabel_module()
    images, voxels = images or Images(), voxels or Voxels()
    refuse_odd_statistics(voxels)
    most = picture_count(pictures)
    if most != 0 and find_spec("nilearn") is None:
        raise ImportError(
            f'nilearn is needed for its viewer; install it: {install_hint("mri")}; or draw none: `pictures` "none"'
        )
    shares(1, cluster)
    names = class_names(classes)
    plan = checked(
        Plan(
            tuple(dict.fromkeys(methods)), None if names is None else tuple(names), target, images.input, images.axis, images.orientation,
            images.intensity, baselines, layer, dict(options or {}), voxels.smooth, batch_size, device, seed, images.slice_range,
        ),
        has_atlas=images.atlas is not None or any(s.atlas is not None for s in read_subjects(data)[0]),
    )  # fmt: skip
    code, parameters = model if isinstance(model, Factory) else (model, None)
    arguments = None if parameters is None else read_mapping(Path(parameters), "parameters")
    f = model_of(code, weights, device, arguments)
    cohort = cohort_of(data, images, say)
    cohort = replace(cohort, subjects=_chosen(cohort.subjects, samples, max_samples, seed, say))
    if plan.batch_size == "auto" and plan.input == "volume" and np.prod(cohort.shape) > LARGE:
        plan = replace(plan, batch_size=2)
    across = plane_dim(cohort.affine, plan.axis)
    _refuse_slices_outside(plan.slices, cohort.shape, across)
    beside = context_of(context, f, [s.name for s in cohort.subjects])
    explainer = Explainer(f, plan, across, beside)
    first, volume = _first_readable(cohort)
    prediction = explainer.try_out(volume, first.name)
    people, strange = with_classes(cohort.subjects, prediction.classes, names is not None)
    cohort = replace(cohort, subjects=people, problems=[*cohort.problems, *strange])
    slices = _slices(cohort, volume, across, images, plan.slices)
    target_name = plan.target or prediction.classes[-1]
    say(
        f"{len(people)} subjects of {' x '.join(map(str, cohort.shape))} voxels; {', '.join(plan.methods)} of the score of {target_name}."
    )
    place = Path(output).absolute()
    drawn = {s.name for s in evenly(people, len(people) if most is None else min(most, len(people)), seed)}
    settings = _settings(plan, code, f, weights, parameters, images, cohort, images.npy) | beside.identity()
    study = Mri(
        code, weights, arguments, device, plan, across, cohort, beside, first.name, place, images.npy, frozenset(drawn), slices, settings,
    )  # fmt: skip
    worker = Worker(study, explainer)
    judged = {s.name for s in evenly(people, min(JUDGED, len(people)), seed)}
    items = {s.name: (s, s.name in judged) for s in people}
    if overwrite or read_part(place, items[first.name][0]) is None:
        worker.rehearse(items[first.name])

    def finish(run: Folder, done: list[str], refused: dict[str, str]) -> None:
        problems = [
            *cohort.problems,
            *({"subject": s, "problem": why, "kept": False} for s, why in refused.items()),
        ]
        parts = [_part(run, study, items[name][0]) for name in done]
        pictured = [name for name in done if name in drawn]
        results = Done(cohort, plan, parts, problems, pictured, across, slices, worker.seconds)
        write_cohort(run, results, voxels)
        run.record |= {"seconds": results.seconds}

    return studied(
        study, items, output, finish, overwrite=overwrite, session=worker, cluster=cluster, seconds=worker.seconds, tell=tell
    )  # fmt: skip


def _part(run: Folder, study: Mri, subject: Subject) -> dict[str, Any]:
    """What is known of a subject that is explained; its files are listed."""
    sheet = study.sheet(subject)
    for file in () if sheet is None else sheet.files:
        run.file(file)
    for method in study.plan.methods:
        for ending in (".nii.gz", *(["_attributions.npy"] * study.npy)):
            run.file(map_name(method, subject.name, ending))
    part = read_part(study.folder, subject)
    assert part is not None
    if part["label"] != subject.label:  # the table was mended since
        for entry in (part, *part["rows"], *part["regions"]):
            entry["label"] = subject.label
        for row in part["rows"]:
            row["correct"] = is_correct(subject.label, part["predicted"], part["classes"])
    return part


def _settings(
    plan: Plan, model: Any, f: Any, weights: Any, parameters: Any, images: Images, cohort: Cohort, npy: bool
) -> dict[str, Any]:  # fmt: skip
    """What the parts of a folder depend on."""
    named = (("brain_mask", images.brain_mask), ("atlas", images.atlas), ("parameters", parameters))
    files = {k: None if v is None else fingerprint(Path(v)) for k, v in named}
    settings = asdict(plan)
    if Path(plan.baselines).is_file():
        settings["baselines"] = f"{plan.baselines} {fingerprint(Path(plan.baselines))}"
    del settings["batch_size"], settings["device"]
    return {
        **settings, **files, "model": model if isinstance(model, str) else type(model).__name__, "weights": digest(f), "npy": npy,
        "names": cohort.names, "reference": [f"{s.name} {fingerprint(s.path)}" for s in reference_subjects(plan, cohort)],
    }  # fmt: skip


def _chosen(
    subjects: list[Subject], samples: Sequence[str] | None, most: int | None, seed: int, say: Say
) -> list[Subject]:
    subjects = [subjects[k] for k in places_of([s.name for s in subjects], samples)]
    refuse_below_one(max_samples=most)
    if most is not None and most < len(subjects):
        say(f"{most} of {len(subjects)} subjects, drawn evenly over labels with seed {seed}.")
        return evenly(subjects, most, seed)
    return subjects


def _first_readable(cohort: Cohort) -> tuple[Subject, xr.DataArray]:
    """The first subject whose volume can be read."""
    reasons = []
    for s in cohort.subjects:
        try:
            return s, cohort.read(s)
        except (ValueError, OSError) as error:
            reasons.append(f"{s.name}: {first_line(error)}")
    raise ValueError(f"`data`: no image can be read; {reasons[0] if reasons else 'no subject is left'}")


def _refuse_slices_outside(wanted: tuple[int, int] | None, shape: Sequence[int], across: str) -> None:
    """Refuse a range of slices that reaches beyond the volume."""
    count = shape[VOXEL_DIMS.index(across)]
    if wanted is not None and not 0 <= wanted[0] <= wanted[1] < count:
        raise ValueError(
            f"`slice_range` of `input` is {wanted[0]}-{wanted[1]}, but there are slices 0 to {count - 1} along {across}"
        )


def _slices(
    cohort: Cohort, volume: xr.DataArray, across: str, images: Images, explained: tuple[int, int] | None
) -> list[int]:
    """The slices that are drawn: those that were asked for, else some of the explained ones."""
    first, last = explained or (0, cohort.shape[VOXEL_DIMS.index(across)] - 1)
    wanted, mm = images.key_slices, images.key_mm
    if wanted is not None and mm is not None:
        raise ValueError("`key_slices` and `key_mm` are both given; pass one of them")
    if wanted is None and mm is None:
        inside = foreground(volume.isel({across: slice(first, last + 1)}).values)
        return [first + k for k in middle_slices(inside, across)]
    name = "key_slices" if wanted is not None else "key_mm"
    chosen = list(wanted) if wanted is not None else [slice_at(cohort.affine, across, v) for v in mm or ()]
    outside = [k for k in chosen if not first <= k <= last]
    if outside or not chosen:
        raise ValueError(
            f"`{name}`: slice {outside[0] if outside else 'none'} is not among those that are explained along {across}, {first} to {last}"
        )
    return list(dict.fromkeys(chosen))
