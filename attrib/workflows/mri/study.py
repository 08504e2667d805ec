"""The study of magnetic resonance images: from a table of subjects to maps in their own space, figures and group statistics."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

from attrib._install import install_hint
from attrib.domains.mri import Subject, evenly, head, plane_dim, read_subjects, slice_at
from attrib.domains.mri import key_slices as middle_slices
from attrib.io import replacing, save, save_rows, write_json
from attrib.io.nifti import nibabel_module, numbers, open_image, oriented
from attrib.io.place import strict
from attrib.labels.grids import VOXEL_DIMS
from attrib.scale.loading import first_line, load_model
from attrib.scale.runners import each, shares
from attrib.workflows.attribute import Tell
from attrib.workflows.context import read_context
from attrib.workflows.folder import Folder, command_line, digest, fingerprint
from attrib.workflows.mri.drawing import Drawers
from attrib.workflows.mri.explaining import Explained, Explainer
from attrib.workflows.mri.groups import Groups, Means, compare
from attrib.workflows.mri.intake import Cohort, cohort_of, with_classes
from attrib.workflows.mri.overview import overview
from attrib.workflows.mri.page import study_page
from attrib.workflows.mri.pictures import Sheet, viewer
from attrib.workflows.mri.plan import METHODS, Factory, Figures, Images, Plan, Voxels, checked
from attrib.workflows.mri.reference import Baseline, baseline_of, reference_subjects
from attrib.workflows.mri.station import Station
from attrib.workflows.mri.subjectfiles import map_name, read_part, write_subject
from attrib.workflows.targets import class_names

PROGRAM = "attrib mri"
LARGE = 1_000_000  # voxels above which more volumes in a call gain nothing and take memory
JUDGED = 20  # subjects whose maps are compared with random orders by deletion
Say = Callable[[str], None]


def mri(
    subjects: str | Path,
    model: str | Factory | Callable[..., Any],
    output: str | Path,
    *,
    weights: str | Path | None = None,
    classes: str | None = None,
    target: str | None = None,
    methods: Sequence[str] = METHODS,
    options: Mapping[str, Any] | None = None,
    baselines: str = "zeros",
    layer: str = "auto",
    context: Sequence[str] = (),
    images: Images | None = None,
    samples: Sequence[str] | None = None,
    max_samples: int = 0,
    figures: Figures | None = None,
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
    subjects : path
        A table, see `attrib.domains.mri.read_subjects`.
    model : str, Factory or callable
        As for `attrib.scale.loading.load_model`, with or without a file of its arguments; or the model itself.
    output : path
        Folder for the results. One that holds a run with the same settings is continued: subjects that are done are not
        done again.
    weights : path, optional
        A state dict.
    classes : str, optional
        Names of the outputs, with commas, or a file with one per line. A model of one output has two.
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
        How images go in: volumes or slices, orientation, intensity, mask, atlas.
    samples : sequence of str, optional
        Subjects by name; default: all.
    max_samples : int, default 0
        At most so many, drawn evenly over labels; 0: all.
    figures : Figures, optional
        What is drawn, and which further files are written.
    voxels : Voxels, optional
        Statistics of voxels.
    batch_size, device, seed
        As for every method.
    cluster : int, str or Client, optional
        Worker processes, or the address of a Dask scheduler whose workers see the same files; default: this process. Subjects go to them one
        by one.
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
    """
    nibabel_module()
    images, figures, voxels = images or Images(), figures or Figures(), voxels or Voxels()
    drawn_count = _count(figures.pictures)
    if figures.viewers and drawn_count and find_spec("nilearn") is None:
        raise ImportError(
            f"nilearn is needed for its viewer; install it: {install_hint('mri')}; or pass `viewers` False"
        )
    shares(1, cluster)
    names = class_names(classes)
    plan = checked(
        Plan(
            tuple(dict.fromkeys(methods)), None if names is None else tuple(names), target, images.input, images.axis, images.orientation,
            images.intensity, images.channels, baselines, layer, dict(options or {}), voxels.smooth, figures.percentile, batch_size, device,
            seed, images.slice_range,
        ),
        has_atlas=images.atlas is not None or _has_atlases(subjects),
    )  # fmt: skip
    code, parameters = model if isinstance(model, Factory) else (model, None)
    arguments = _parameters(parameters)
    f = load_model(code, weights, device, arguments) if isinstance(code, str) else code
    cohort = cohort_of(subjects, images, say)
    cohort = replace(cohort, subjects=_chosen(cohort.subjects, samples, max_samples, seed, say))
    if plan.batch_size == "auto" and plan.input == "volume" and np.prod(cohort.shape) > LARGE:
        plan = replace(plan, batch_size=2)
    across = plane_dim(cohort.affine, plan.axis)
    _refuse_slices_outside(plan.slices, cohort.shape, across)
    beside = read_context(context, f)
    beside.of(
        xr.DataArray(np.zeros(len(cohort.subjects)), coords={"sample": [s.name for s in cohort.subjects]})
    )
    explainer = Explainer(f, plan, across, beside)
    first, volume = _first_readable(cohort)
    prediction = explainer.try_out(volume, first.name)
    people, strange = with_classes(cohort.subjects, prediction.classes, names is not None)
    cohort = replace(cohort, subjects=people, problems=[*cohort.problems, *strange])
    baseline = baseline_of(plan, cohort)
    slices = _slices(cohort, volume, across, figures, plan.slices)
    target_name = plan.target or prediction.classes[-1]
    say(
        f"{len(people)} subjects of {' x '.join(map(str, cohort.shape))} voxels; {', '.join(plan.methods)} of the score of {target_name}."
    )
    work = _Work(Path(output), cohort, plan, explainer, baseline, across, slices, figures, tell, say)
    ready = None
    if overwrite or read_part(work.folder, next(s for s in people if s.name == first.name)) is None:
        subject = next(s for s in people if s.name == first.name)
        explained = explainer.explain(
            volume, cohort.atlas_of(subject), baseline(volume), subject.name in work.judged, subject.name
        )
        ready = (first.name, explained)
    settings = _settings(plan, code, f, weights, parameters, images, cohort, figures.npy)
    if context:
        settings["context"] = beside.digest()
    with Folder(output, command_line(), program=PROGRAM, settings=settings, overwrite=overwrite) as run:
        if cluster is not None:
            station = Station(
                code, weights, arguments, device, plan, across, cohort, beside, first.name, run.path.resolve(), figures.npy,
                shares(torch.get_num_threads(), cluster),
            )  # fmt: skip
            work.distribute(station, cluster)
        parts = work.explain_all(run, ready, drawn_count, figures.workers)
        _finish(run, work, parts, voxels)
        run.record |= {"seconds": work.seconds}
    return run.path


class _Work:
    """The subjects one after the other: explain, write, hand to those who draw."""

    def __init__(
        self, folder: Path, cohort: Cohort, plan: Plan, explainer: Explainer, baseline: Baseline, across: str, slices: list[int],
        figures: Figures, tell: Tell | None, say: Say,
    ) -> None:  # fmt: skip
        self.folder, self.cohort, self.plan = folder, cohort, plan
        self.explainer, self.baseline = explainer, baseline
        self.across, self.slices, self.figures = across, slices, figures
        self.tell, self.say = tell, say
        self.refused: dict[str, str] = {}
        count = min(JUDGED, len(cohort.subjects))
        self.judged = {s.name for s in evenly(cohort.subjects, count, plan.seed)}
        self.problems = list(cohort.problems)
        self.drawn: list[str] = []
        self.seconds: dict[str, float] = {
            "reading": 0.0,
            "explaining": 0.0,
            "writing": 0.0,
            "waiting for pictures": 0.0,
        }

    def distribute(self, station: Station, cluster: Any) -> None:
        """Explain the subjects that are not done on the workers of a cluster, and remember why some could not be."""
        start = time.perf_counter()
        pending = [
            (s, s.name in self.judged) for s in self.cohort.subjects if read_part(self.folder, s) is None
        ]
        for done, ((subject, _), reason, error) in enumerate(
            each(cluster, station, pending) if pending else (), 1
        ):
            if error is not None or reason is not None:
                self.refused[subject.name] = reason if error is None else first_line(error)
            if self.tell is not None:
                self.tell("subjects on workers", done, len(pending))
        self._add("explaining", start)

    def explain_all(
        self, run: Folder, ready: tuple[str, Explained] | None, pictures: int, workers: int
    ) -> list[dict[str, Any]]:
        """The parts of all subjects that could be explained."""
        subjects = self.cohort.subjects
        chosen = {s.name for s in evenly(subjects, min(pictures, len(subjects)), self.plan.seed)}
        self.drawn = [s.name for s in subjects if s.name in chosen]
        parts = []
        with Drawers(
            workers if len(chosen) * len(self.plan.methods) > 6 else 0,
            lambda names: _listed(run, names),
        ) as drawers:
            for number, subject in enumerate(subjects):
                part = self._subject(run, subject, ready, drawers if subject.name in chosen else None)
                if part is not None:
                    parts.append(part)
                if self.tell is not None:
                    self.tell("subjects", number + 1, len(subjects))
            start = time.perf_counter()
        self.seconds["waiting for pictures"] += time.perf_counter() - start
        if not parts:
            raise ValueError(
                f"`subjects`: none could be explained; {self.problems[-1]['subject']}: {self.problems[-1]['problem']}"
            )
        explained = {p["subject"] for p in parts}
        self.drawn = [s for s in self.drawn if s in explained]
        return parts

    def _subject(
        self, run: Folder, subject: Subject, ready: tuple[str, Explained] | None, drawers: Drawers | None
    ) -> dict[str, Any] | None:
        """A subject's part; None if it cannot be explained, which is listed."""
        if subject.name in self.refused:
            self.problems.append(
                {"subject": subject.name, "problem": self.refused[subject.name], "kept": False}
            )
            return None
        start = time.perf_counter()
        part = read_part(self.folder, subject)
        explained = None
        try:
            if part is None or drawers is not None:
                volume = self.cohort.read(subject)
            self._add("reading", start)
            if part is None:
                start = time.perf_counter()
                atlas = self.cohort.atlas_of(subject)
                explained = (
                    ready[1]
                    if ready is not None and ready[0] == subject.name
                    else self.explainer.explain(
                        volume, atlas, self.baseline(volume), subject.name in self.judged, subject.name
                    )
                )
                self._add("explaining", start)
        except (ValueError, TypeError, NotImplementedError, OSError) as error:
            self.problems.append({"subject": subject.name, "problem": str(error), "kept": False})
            return None
        start = time.perf_counter()
        if explained is not None:
            write_subject(self.folder, subject, self.cohort, self.plan, volume, explained, self.figures.npy)
            part = read_part(self.folder, subject)
        for method in self.plan.methods:
            run.file(map_name(method, subject.name, ".nii.gz"))
            if self.figures.npy:
                run.file(map_name(method, subject.name, "_attributions.npy"))
        assert part is not None
        if part["label"] != subject.label:  # the table was mended since
            part["label"] = subject.label
            for row in (*part["rows"], *part["regions"]):
                row["label"] = subject.label
        self._add("writing", start)
        if drawers is not None:
            start = time.perf_counter()
            sheet = self._sheet(subject, part, volume, None if explained is None else explained.maps)
            if all((self.folder / f).is_file() for f in sheet.files) and explained is None:
                for f in sheet.files:
                    run.file(f)
            else:
                drawers.submit(sheet)
            self._add("waiting for pictures", start)
        return part

    def _add(self, what: str, start: float) -> None:
        self.seconds[what] = round(self.seconds[what] + time.perf_counter() - start, 2)

    def _sheet(
        self,
        subject: Subject,
        part: Mapping[str, Any],
        volume: xr.DataArray,
        maps: Mapping[str, xr.DataArray] | None,
    ) -> Sheet:
        """What is drawn of a subject; maps of an earlier run are read."""
        if maps is None:
            maps = {m: self.cohort.volume(self.map_of(subject.name, m)) for m in self.plan.methods}
        probability = max(part["probability"])
        true = f"true {subject.label}, " if subject.label else ""
        title = f"{subject.name}: {true}predicted {part['predicted']} (p = {probability:.3f})"
        labels = {m: label_of(part["units"][m], part["target"]) for m in maps}
        return Sheet(
            self.folder, subject.name, title, volume, {m: a.drop_attrs() for m, a in maps.items()}, labels, self.cohort.atlas_of(subject),
            self.across, self.slices, self.plan.percentile, self.figures.viewers,
        )  # fmt: skip

    def map_of(self, subject: str, method: str) -> np.ndarray:
        """A map that was written, in the model's orientation."""
        image = open_image(self.folder / map_name(method, subject, ".nii.gz"))
        return numbers(oriented(image, self.plan.orientation))[0]


def label_of(units: str, target: str) -> str:
    """What the colours of a map are."""
    if units == f"score of {target}":
        return f"change of the score of {target} (logit)"
    return units.replace(f"score of {target}", f"score of {target} (logit)").replace(
        "input unit", "unit of intensity"
    )


def _listed(run: Folder, names: Sequence[str]) -> None:
    """Add files to the run's list."""
    for name in names:
        run.file(name)


def _finish(run: Folder, work: _Work, parts: Sequence[dict[str, Any]], voxels: Voxels) -> None:
    """Write the files of the cohort."""
    start = time.perf_counter()
    table = pd.DataFrame([r for p in parts for r in p["rows"]])
    save(table, run.file("attribution_statistics.csv"))
    regions = pd.DataFrame([r for p in parts for r in p["regions"]])
    if len(regions):
        save(regions, run.file("regions.csv"))
    if work.problems:
        save(pd.DataFrame(work.problems), run.file("problems.csv"))
    groups = compare(run.path, work.cohort, work.plan, parts, regions, voxels)
    for file in groups.files:
        run.file(file)
    for name, frame in (
        ("clusters.csv", groups.clusters), ("group_regions.csv", groups.regions), ("lateralisation.csv", groups.indices),
        ("group_lateralisation.csv", groups.sides), ("consistency.csv", groups.consistency), ("agreement.csv", groups.agreement),
    ):  # fmt: skip
        if len(frame):
            save(frame, run.file(name))
    work.seconds["statistics"] = round(time.perf_counter() - start, 2)
    start = time.perf_counter()
    run.picture("attribution_summary.png", overview(table, groups, work.plan.methods))
    pages = _group_viewers(run, work, groups) if work.figures.viewers and work.drawn else {}
    work.seconds["summary picture and viewers"] = round(time.perf_counter() - start, 2)
    start = time.perf_counter()
    means = Means(work.plan.methods)
    if work.figures.store:
        _store(run, work, parts, means)
    else:
        for _ in _maps(work, parts, means):
            pass
    for file in means.write(run.path, work.cohort, parts[0]["target"]):
        run.file(file)
    work.seconds["attributions.nc and means"] = round(time.perf_counter() - start, 2)
    summary = _summary(table, parts, groups, work)
    write_json(strict(summary), run.file("summary.json"))
    cohort_files = [f for f in run.files if "/" not in f]
    with replacing(run.file("index.html")) as temporary:
        text = study_page(
            summary, table, groups, cohort_files, work.problems, work.drawn, work.plan.methods, work.across, work.slices, pages,
            work.figures.viewers,
        )  # fmt: skip
        temporary.write_text(text, encoding="utf-8")


def _group_viewers(run: Folder, work: _Work, groups: Groups) -> dict[str, str]:
    """Pages with the group maps over the first subject's anatomy."""
    pages: dict[str, str] = {}
    for file in groups.files:
        method = file.removeprefix("group_").removesuffix(".nii.gz")
        t = work.cohort.volume(numbers(oriented(open_image(run.path / file), work.plan.orientation))[0])
        anatomy = work.cohort.read(work.cohort.subjects[0])
        name = f"group_{method}_viewer.html"
        title = f"t of {method.replace('_', ' ')}: {groups.positive} less {groups.negative}"
        viewer(t, anatomy, 0.0, title, run.file(name), threshold=2.0)
        pages[method] = name
    return pages


def _maps(work: _Work, parts: Sequence[Mapping[str, Any]], means: Means) -> Iterator[np.ndarray]:
    """The maps (method, i, j, k) of each subject, one subject in memory at a time; `means` gets them too."""
    for p in parts:
        maps = np.stack([work.map_of(p["subject"], m) for m in work.plan.methods])
        means.add(str(p["label"]), maps)
        yield maps


def _store(run: Folder, work: _Work, parts: Sequence[Mapping[str, Any]], means: Means) -> None:
    """Write all maps into one netCDF file, a subject at a time."""
    methods, shape = work.plan.methods, work.cohort.shape
    coords: dict[str, Any] = {
        "subject": [p["subject"] for p in parts],
        "method": list(methods),
        "label": ("subject", [p["label"] for p in parts]),
        "predicted": ("subject", [p["predicted"] for p in parts]),
        "probability": ("subject", [max(p["probability"]) for p in parts]),
        "prediction": ("subject", [p["score"] for p in parts]),
        **work.cohort.grid,
    }
    labels = xr.DataArray(
        np.broadcast_to(np.float32(0), (len(parts), len(methods), *shape)), dims=("subject", "method", *VOXEL_DIMS), coords=coords,
        name="attribution", attrs={"long_name": f"attribution of the score of {parts[0]['target']}", "units": "see units of each map"},
    )  # fmt: skip
    labels.attrs["units"] = "; ".join(f"{m}: {u}" for m, u in parts[0]["units"].items())
    save_rows(_maps(work, parts, means), labels, run.file("attributions.nc"))


def _summary(
    table: pd.DataFrame, parts: Sequence[Mapping[str, Any]], groups: Groups, work: _Work
) -> dict[str, Any]:
    once = table.drop_duplicates("subject")
    judged = once[once.correct.notna()]
    errors = {}
    for method, rows in table.groupby("method", sort=False):
        delta = rows.delta.dropna().astype(float).abs()
        if len(delta):
            errors[str(method)] = {"median": float(delta.median()), "max": float(delta.max())}
    z = table.astype({"deletion_z": float}).groupby("method", sort=False)["deletion_z"].median()
    return {
        "subjects": len(parts),
        "left_out": sum(not p["kept"] for p in work.problems),
        "target": work.plan.target or parts[0]["classes"][-1],
        "classes": list(parts[0]["classes"]),
        "labels": {str(k): int(v) for k, v in once.label.value_counts().items()},
        "labelled": len(judged),
        "accuracy": float(judged.correct.astype(bool).mean()) if len(judged) else None,
        "completeness_error": errors,
        "deletion_z_median": {str(m): float(v) for m, v in z.items()},
        "significant_clusters": int((groups.clusters.p_mass < 0.05).sum()) if len(groups.clusters) else None,
        "pictures_of": len(work.drawn),
        "seconds": work.seconds,
        "notes": groups.notes,
    }


def _settings(
    plan: Plan, model: Any, f: Any, weights: Any, parameters: Any, images: Images, cohort: Cohort, npy: bool
) -> dict[str, Any]:  # fmt: skip
    """What the parts of a folder depend on."""
    named = (("brain_mask", images.brain_mask), ("atlas", images.atlas), ("parameters", parameters))
    files = {k: None if v is None else fingerprint(Path(v)) for k, v in named}
    settings = asdict(plan)
    del settings["batch_size"], settings["device"], settings["percentile"]
    return {
        **settings, **files, "model": model if isinstance(model, str) else type(model).__name__, "weights": digest(f), "npy": npy,
        "names": cohort.names, "reference": [s.name for s in reference_subjects(plan, cohort)],
    }  # fmt: skip


def _chosen(
    subjects: list[Subject], samples: Sequence[str] | None, most: int, seed: int, say: Say
) -> list[Subject]:
    if samples is not None:
        names = {s.name for s in subjects}
        missing = [s for s in samples if s not in names]
        if missing:
            raise ValueError(
                f"`samples` has {missing[0]!r}; subjects that can be used are {', '.join(sorted(names)[:8])}"
            )
        subjects = [s for s in subjects if s.name in set(samples)]
    if most < 0:
        raise ValueError(f"`max_samples` is {most}, expected a number of subjects, or 0 for all")
    if most and most < len(subjects):
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
    raise ValueError(f"`subjects`: no image can be read; {reasons[0] if reasons else 'no subject is left'}")


def _refuse_slices_outside(wanted: tuple[int, int] | None, shape: Sequence[int], across: str) -> None:
    """Refuse a range of slices that reaches beyond the volume."""
    count = shape[VOXEL_DIMS.index(across)]
    if wanted is not None and not 0 <= wanted[0] <= wanted[1] < count:
        raise ValueError(
            f"`slice_range` is {wanted[0]},{wanted[1]}, but there are slices 0 to {count - 1} along {across}"
        )


def _slices(
    cohort: Cohort, volume: xr.DataArray, across: str, figures: Figures, explained: tuple[int, int] | None
) -> list[int]:
    """The slices that are drawn: those that were asked for, else some of the explained ones."""
    first, last = explained or (0, cohort.shape[VOXEL_DIMS.index(across)] - 1)
    wanted, mm = figures.key_slices, figures.key_mm
    if wanted is not None and mm is not None:
        raise ValueError("`key_slices` and `key_mm` are both given; pass one of them")
    if wanted is None and mm is None:
        inside = head(volume.isel({across: slice(first, last + 1)}).values)
        return [first + k for k in middle_slices(inside, across)]
    name = "key_slices" if wanted is not None else "key_mm"
    chosen = list(wanted) if wanted is not None else [slice_at(cohort.affine, across, v) for v in mm or ()]
    outside = [k for k in chosen if not first <= k <= last]
    if outside or not chosen:
        raise ValueError(
            f"`{name}`: slice {outside[0] if outside else 'none'} is not among those that are explained along {across}, {first} to {last}"
        )
    return list(dict.fromkeys(chosen))


def _count(pictures: int | str) -> int:
    if pictures == "all":
        return 10**9
    if pictures == "none":
        return 0
    if isinstance(pictures, str) and pictures.isdecimal():
        return int(pictures)
    if isinstance(pictures, int) and pictures >= 0:
        return pictures
    raise ValueError(f"`pictures` is {pictures!r}, expected a number, all or none")


def _parameters(path: str | Path | None) -> dict[str, Any] | None:
    """The factory's arguments from a file of JSON."""
    if path is None:
        return None
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"`parameters`: there is no file {file}")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"`parameters`: {file} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"`parameters`: {file} holds a {type(content).__name__}, expected names and values")
    return content


def _has_atlases(subjects: str | Path) -> bool:
    return any(s.atlas is not None for s in read_subjects(subjects)[0])
