"""Wrong arguments, inputs and models: the error says what to do, and nothing is changed."""

import inspect
import math
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

import attrib
from attrib.testing import untouched
from tests.cases import CASES, Case, agree, drawn

cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


class Breaks(nn.Module):
    """Raises in the call of the given number."""

    def __init__(self, body: nn.Module, at: int) -> None:
        super().__init__()
        self.body, self._left = body, [at]

    def forward(self, x: Tensor) -> Tensor:
        self._left[0] -= 1
        if self._left[0] < 0:
            raise ArithmeticError("the model broke")
        return self.body(x)


@pytest.mark.parametrize("at", [0, 1, 2])
@cases
def test_nothing_is_changed_by_a_model_that_breaks(case: Case, at: int) -> None:
    s, options = drawn(case, "mlp")
    model = Breaks(s.f, at)
    with untouched(model, s.x), pytest.raises(ArithmeticError, match="the model broke"):
        case.bound()(model, s.x, batch_size=1, **options)


@pytest.mark.parametrize("target", [7, -99, "cat", True, 1.5, [0], (0, 0), None, lambda y: y])
@cases
def test_nothing_is_changed_by_a_wrong_target(case: Case, target: Any) -> None:
    s, options = drawn(case, "mlp")
    with untouched(s.f, s.x), pytest.raises((ValueError, TypeError), match="`target`"):
        case.bound()(s.f, s.x, **{**options, "target": target})


@cases
def test_inputs_of_inference_mode(case: Case) -> None:
    s, options = drawn(case, "mlp")
    expected = case.bound()(s.f, s.x, **options)
    with torch.inference_mode():
        inside = s._replace(x=s.x.clone())
        found = case.bound()(inside.f, inside.x, **options)
    agree(found, expected, 1e-12)
    agree(case.bound()(inside.f, inside.x, **options), expected, 1e-12)


@cases
def test_a_caller_that_tracks_gradients_or_does_not(case: Case) -> None:
    s, options = drawn(case, "mlp")
    expected = case.bound()(s.f, s.x, **options)
    with torch.no_grad():
        assert torch.equal(case.bound()(s.f, s.x, **options), expected)
    tracked = s.x.clone().requires_grad_()
    found = case.bound()(s.f, tracked, **options)
    assert torch.equal(found, expected)
    assert not found.requires_grad
    assert tracked.grad is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
@cases
def test_inputs_that_are_not_finite_are_named(case: Case, value: float) -> None:
    s, options = drawn(case, "mlp", n=4)
    x = s.x.clone()
    x[2, 1] = value
    with pytest.raises(ValueError, match=r"`x` has NaN or infinite values in 1 of 4 samples: 2"):
        case.bound()(s.f, x, **options)


@cases
def test_outputs_that_are_not_finite_are_named(case: Case) -> None:
    if "mlp" not in case.kinds:
        pytest.skip("no vectors")
    _, options = drawn(case, "mlp", n=4)
    x = torch.tensor([[1.0], [2.0], [-3.0], [4.0]], dtype=torch.float64)
    options.pop("baselines", None)
    if case.takes:
        options["baselines"] = x.new_ones(1, 1)
    if case.name.startswith(("smooth_grad", "noise_tunnel")):
        options["stdevs"] = 0.01  # the range of a single number is no scale
    with pytest.raises(ValueError, match=r"1 of 4 samples: 2"):
        case.bound()(lambda x: x.log(), x, **{**options, "target": 0})


@pytest.mark.parametrize("x", [3, [1.0, 2.0], np.ones((2, 5)), torch.ones(2, 5, dtype=torch.int64)])
@cases
def test_inputs_that_are_no_float_tensors(case: Case, x: Any) -> None:
    s, options = drawn(case, "mlp")
    if isinstance(x, torch.Tensor) and case.method.about.edits:
        pytest.skip("whole numbers can be replaced")
    with pytest.raises(TypeError, match="`x"):
        case.bound()(s.f, x, **options)


@cases
def test_inputs_without_samples_or_with_unequal_numbers(case: Case) -> None:
    if "two_inputs" not in case.kinds:
        pytest.skip("one input")
    s, options = drawn(case, "two_inputs")
    with pytest.raises(ValueError, match="at least one sample"):
        case.bound()(s.f, torch.ones(0, 5), **options)
    with pytest.raises(ValueError, match="3 and 2 samples"):
        case.bound()(s.f, (s.x[0], s.x[1][:2]), **options)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"batch_size": 0}, ValueError, "`batch_size` is 0"),
        ({"batch_size": -3}, ValueError, "`batch_size` is -3"),
        ({"batch_size": "big"}, TypeError, "`batch_size` is 'big'"),
        ({"batch_size": True}, TypeError, "`batch_size` is True"),
        ({"batch_size": 2.0}, TypeError, "`batch_size` is 2.0"),
        ({"engine": "magic"}, ValueError, "`engine` is 'magic'"),
        ({"target": 0, "targets": [0]}, ValueError, "both given"),
        ({"targets": []}, ValueError, "`targets` is empty"),
        ({"targets": "every"}, ValueError, "`targets` is 'every'"),
        ({"target": 0, "classes": ["a", "b"]}, ValueError, "`classes` has 2 names, but the model has 3"),
        (
            {"target": "a", "classes": ["a", "a", "b"]},
            ValueError,
            "`classes` has 'a' more than once, expected one name for each output",
        ),
    ],
)
@cases
def test_wrong_arguments(case: Case, options: dict, error: type[Exception], text: str) -> None:
    s, _ = drawn(case, "mlp")
    if "engine" in options and "func" not in case.engines:
        pytest.skip("no engine to choose")
    with untouched(s.f, s.x), pytest.raises(error, match=text):
        case.bound()(s.f, s.x, **{"target": None, **case.baselines(s), **options})


def test_errors_of_the_model_say_what_it_was_called_with() -> None:
    net = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2)).eval()
    with pytest.raises(ValueError, match="got 1D input") as lone:
        attrib.saliency(net, np.ones(3, "float32"), target=0)
    assert "if `x` is one sample, pass x[None]" in lone.value.__notes__[0]
    with pytest.raises(RuntimeError) as turned:
        attrib.functional.saliency(torch.nn.Linear(3, 2), torch.ones(3, 5), target=0)
    assert "5), torch.float32: dim 0 of `x` is samples" in turned.value.__notes__[0]


def test_what_is_no_array_is_refused_with_what_to_pass() -> None:
    net = torch.nn.Linear(3, 2)
    for x, words in (
        ("cells.h5ad", "pass what is in the file"),
        (net, "the model comes first"),
        ("a good film", "is text"),
    ):
        with pytest.raises(TypeError, match=words):
            attrib.saliency(net, x, target=0)


def test_names_of_the_package_are_found_and_misspelt_ones_told() -> None:
    assert attrib.domains.sequences.one_hot("ACGT").shape == (1, 4, 4)
    assert {"mri", "sequences"} <= set(dir(attrib.domains))
    for place in (attrib, attrib.domains, attrib.workflows):
        with pytest.raises(AttributeError, match="has no attribute 'saliance'") as error:
            _ = place.saliance
        assert (error.value.name, error.value.obj) == (
            "saliance",
            place,
        )  # Python suggests the nearest by these


ROOMS = (
    "stats",
    "plots",
    "io",
    "domains.sequences",
    "domains.motifs",
    "domains.expression",
    "domains.fcgr",
    "testing",
)
PUBLIC = {
    f"{room}.{name}": getattr(import_module(f"attrib.{room}"), name)
    for room in ROOMS
    for name in import_module(f"attrib.{room}").__all__
} | {
    f"functional.{name}": getattr(attrib.functional, name)
    for name in ("prepare", "shared", "up_to", "from_layer", "head", "op_shares")
}


def last(function: Any) -> inspect.Parameter:
    return list(inspect.signature(function).parameters.values())[-1]


FUNCTIONS = {  # those that hand options on leave unknown ones to the method
    name: f
    for name, f in PUBLIC.items()
    if inspect.isfunction(f)
    and inspect.signature(f).parameters
    and last(f).kind != inspect.Parameter.VAR_KEYWORD
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_unknown_keyword_of_a_public_function_gets_the_nearest_name(name: str) -> None:
    function = FUNCTIONS[name]
    argument = last(function).name
    with pytest.raises(TypeError) as caught:
        function(**{f"{argument}z": 1})
    assert (
        str(caught.value) == f"{function.__name__} has no argument '{argument}z'; did you mean {argument!r}?"
    )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_has_no_labels_is_named_where_a_dataarray_is_expected(name: str) -> None:
    function = FUNCTIONS[name]
    for argument, parameter in inspect.signature(function).parameters.items():
        if parameter.annotation == "xr.DataArray":
            with pytest.raises(
                TypeError, match=f"`{argument}` is a ndarray, expected a DataArray; make one: xr.DataArray"
            ):
                function(**{argument: np.ones((2, 3))})


def test_other_kinds_that_are_expected() -> None:
    a = xr.DataArray([[1.0, 2.0]], dims=("sample", "gene"))
    with pytest.raises(
        TypeError, match=r"`a` is a Dataset, expected a DataArray; pick a variable: a\[\.\.\.\]"
    ):
        attrib.plots.bars(a.to_dataset(name="a"))  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match=r"`moments` is a DataArray, expected a Dataset, as attrib.stats.moments_by gives it"
    ):
        attrib.stats.top(a)  # type: ignore[arg-type]
    with pytest.raises(
        TypeError,
        match=r"`results` is a DataArray, expected a mapping of names to results, such as \{'saliency': a\}",
    ):
        attrib.stats.agreement(a)  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match="`a` is a ndarray, expected a result, or a mapping of names to results"
    ):
        attrib.stats.summary(np.ones(3))  # type: ignore[arg-type]


WRONG: dict[str, tuple[Any, ...]] = {  # by annotation
    "int": ("three", 1.5, True, math.nan, [3]),
    "float": ("half", math.nan, math.inf, True, [0.5]),
    "bool": ("yes", 2, 0.5, []),
    "str": (3, ["a"], b"a"),
    "str | os.PathLike[str]": (3, "", b"a"),
    "str | Path": (3, "", b"a"),
    "pd.DataFrame": ({}, "a.csv"),
    "Axes": (3, "axes"),
    "Sequence[str]": (3, {}, b"a"),
    "Sequence[int]": (3, "ab", [0.5]),
    "Mapping[str, str]": ("a", ["a"]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_plain_values_of_another_kind_are_named_before_anything_else_is_looked_at(name: str) -> None:
    function = FUNCTIONS[name]
    if not hasattr(function, "__wrapped__") or name.startswith("functional."):
        pytest.skip("checked by `CHECKS` of functional, or without arguments")
    for argument, parameter in inspect.signature(function).parameters.items():
        kind = str(parameter.annotation)
        for value in WRONG.get(kind.removesuffix(" | None"), ()) + (None,) * (kind in WRONG):
            with pytest.raises((TypeError, ValueError), match=rf"`{argument}[`\[]"):
                function(**{argument: value})


def test_numbers_of_numpy_are_numbers() -> None:
    net = torch.nn.Linear(3, 2)
    x = torch.ones(2, 3)
    options: dict[str, Any] = {"target": np.int64(0), "n_steps": np.int64(4), "baselines": np.float32(0.5)}
    of_python = attrib.functional.integrated_gradients(net, x, target=0, n_steps=4, baselines=0.5)
    assert torch.equal(attrib.functional.integrated_gradients(net, x, **options), of_python)
    assert torch.equal(attrib.functional.integrated_gradients.explain(net, x, **options)[0], of_python)
    labelled = attrib.integrated_gradients(net, x, **options)
    np.testing.assert_array_equal(labelled, of_python)
    two = torch.nn.Sequential(net, torch.nn.Tanh())
    assert attrib.functional.conductance(two, x, layer="0", target=0, n_steps=np.int32(2)).shape == (2, 2)
    a = xr.DataArray([[3.0, 1.0], [0.0, 2.0]], dims=("sample", "gene"))
    assert len(attrib.plots.heatmap(a, most=np.int64(2), limit=np.float32(3)).images) == 1
    with pytest.raises(
        TypeError, match="`baselines` is a ndarray, expected a number"
    ):  # what the function gives
        attrib.functional.integrated_gradients(net, x, target=0, **{"baselines": np.zeros_like})


def test_what_has_labels_goes_by_them() -> None:
    """Each call again with its labels turned round: places would give other numbers."""
    counts = pd.DataFrame([[3.0, 1.0], [1.0, 0.0], [0.0, 5.0], [2.0, 2.0]], index=list("ACGT"))
    motif = attrib.domains.motifs.counted_motif
    as_array = xr.DataArray(counts, dims=("nucleotide", "position"), coords={"nucleotide": list("ACGT")})
    background = pd.Series([0.4, 0.1, 0.2, 0.3], index=list("ACGT"))
    expected = motif(counts.to_numpy(), pseudocount=2.0, background=background.tolist())
    for turned in (counts[::-1], as_array[::-1].T):
        xr.testing.assert_equal(motif(turned, pseudocount=2.0, background=background[::-1]), expected)

    scaled = attrib.domains.expression.scaled
    x = xr.DataArray([[3.0, 5.0]], dims=("sample", "gene"), coords={"gene": ["INS", "ALB"]})
    mean, sd = (pd.Series(v, index=["INS", "ALB"]) for v in ([1.0, 2.0], [2.0, 4.0]))
    xr.testing.assert_equal(scaled(x, mean[::-1], sd[::-1]), scaled(x, mean.to_numpy(), sd.to_numpy()))

    grey = xr.DataArray(np.full((3, 3, 3), 100), dims=("y", "x", "channel"), coords={"y": [0, 1, 2]})
    a = xr.DataArray(
        np.ones((1, 3, 3)), dims=("method", "y", "x"), coords={"method": ["cam"], "y": [0, 1, 2]}
    )
    outline = xr.DataArray([[0, 0, 0], [0, 0, 0], [1, 1, 1]], dims=("y", "x"), coords={"y": [0, 1, 2]})
    paths = [
        attrib.plots.overlays(grey, a, "method", outline=o).axes[0].collections[0].get_paths()[0].vertices
        for o in (outline, outline[::-1])
    ]
    np.testing.assert_array_equal(*paths)


def test_sums_of_half_precision_do_not_overflow() -> None:
    a = xr.DataArray(np.full((300, 300), 8.0, np.float16), dims=("y", "x"))
    assert attrib.stats.entropy(a).item() == pytest.approx(1)


MOTIF = [[3.0], [1.0], [0.0], [0.0]]
TABLE = xr.DataArray([[1.0, 2.0], [3.0, 5.0]], dims=("sample", "gene"))
PIXELS = xr.DataArray(np.full((2, 2, 3), 100), dims=("y", "x", "channel"))
ONE_HOT = attrib.domains.sequences.one_hot(["ACGT"])
VOLUME = xr.DataArray(np.ones((2, 2, 2)), dims=("i", "j", "k"))
REFUSED: dict[str, tuple[str, Any]] = {
    "overlap, column": ("`by` is organ", lambda: attrib.stats.overlap(pd.DataFrame({"tissue": ["a"], "gene": ["b"]}), "organ")),
    "overlap, entry": ("`entry` is symbol", lambda: attrib.stats.overlap(pd.DataFrame({"tissue": ["a"], "gene": ["b"]}), "tissue", "symbol")),
    "counted_motif, rows": (r"`counts` of 'motif' has shape \(3, 1\)", lambda: attrib.domains.motifs.counted_motif(MOTIF[:3])),
    "counted_motif, text": ("`counts` is 'ACGT', expected numbers", lambda: attrib.domains.motifs.counted_motif("ACGT")),
    "counted_motif, NaN": ("`counts` of 'motif'", lambda: attrib.domains.motifs.counted_motif([[math.nan], *MOTIF[1:]])),
    "background, text": ("`background` is 'even', expected numbers", lambda: attrib.domains.motifs.counted_motif(MOTIF, background="even")),  # type: ignore[arg-type]
    "random_sequences, size": ("`length` is 1000000000000, expected 1 to", lambda: attrib.domains.sequences.random_sequences(1, 10**12)),
    "random_sequences, frequencies": ("`frequencies` is None", lambda: attrib.domains.sequences.random_sequences(1, 5, frequencies=None)),  # type: ignore[arg-type]
    "decode, dims": ("`x` has the dims", lambda: attrib.domains.sequences.decode(ONE_HOT.rename(nucleotide="letter"))),
    "decode, letters": ("`x` has the nucleotides", lambda: attrib.domains.sequences.decode(ONE_HOT[:, :3])),
    "confusion, dims": ("`table` has the dims", lambda: attrib.plots.confusion(TABLE)),
    "slice_panels, percentile": ("`percentile` is 101", lambda: attrib.plots.slice_panels(VOLUME, VOLUME, "k", 0, percentile=101)),
    "overlays, dim": ("`by` is way", lambda: attrib.plots.overlays(PIXELS, TABLE, "way")),
    "overlaid, dims": ("`a` has the dims", lambda: attrib.plots.overlaid(PIXELS, TABLE)),
    "panels, titles": ("`titles` has 1 entries, expected 2", lambda: attrib.plots.panels(PIXELS[..., :2].astype(float), "channel", titles=["a"])),
    "heatmap, complex": ("`a` has values of complex128, expected real numbers", lambda: attrib.plots.heatmap(TABLE * 1j)),
    "heatmap, nothing": ("`a` has no entries", lambda: attrib.plots.heatmap(TABLE[:, :0])),
    "heatmap, limit": ("`limit` is -1, expected a number of at least 0", lambda: attrib.plots.heatmap(TABLE, limit=-1)),
    "bar_panels, values": (r"`attributions\['a'\]` is None, expected a DataArray", lambda: attrib.plots.bar_panels({"a": None})),  # type: ignore[dict-item]
    "entropy, dims": ("`dims` is y, x, expected some of sample, gene", lambda: attrib.stats.entropy(TABLE)),
    "consistency, dim": (r"`a` has dims .* expected 'cell'", lambda: attrib.stats.consistency(TABLE, [0, 1], dim="cell")),
    "region_shares, dim": ("`dim` is 'cell'", lambda: attrib.stats.region_shares(TABLE, xr.DataArray([[1, 1], [1, 2]], dims=("sample", "gene")), dim="cell")),
    "top, moments": ("`moments` lacks var", lambda: attrib.stats.top(xr.Dataset({"mean": TABLE, "count": ("sample", [1, 1])}))),
    "describe, texts": ("`a` has values of <U", lambda: attrib.stats.describe(TABLE.astype(str))),
    "scaled, genes": (r"`sd` has shape \(\), expected \(2,\)", lambda: attrib.domains.expression.scaled(TABLE, np.ones(2), 3)),  # type: ignore[arg-type]
    "conductance, steps": ("`n_steps` is 1,000,000,000,000", lambda: attrib.functional.conductance(torch.nn.Sequential(torch.nn.Linear(3, 2)), torch.ones(1, 3), layer="0", target=0, n_steps=10**12)),
    "enrichment, genes": (r"`chosen\['liver'\]` is None", lambda: attrib.stats.enrichment({"liver": None}, {"a": ["INS", "GCG"]}, ["INS", "GCG"])),  # type: ignore[dict-item]
    "report, missing labels": ("`label` lacks 1 of 2 values", lambda: attrib.stats.report(["a", None], ["a", "b"])),
    "consistency, missing labels": ("`label` lacks 1 of 3 values", lambda: attrib.stats.consistency(xr.DataArray(np.eye(3), dims=("sample", "gene")), ["a", "b", None])),
    "curves, control": ("`control` has dims", lambda: attrib.plots.curves({"a": TABLE}, "gene", control=TABLE[:, 0])),
    "curves, order": ("`lines` is a, expected some of b", lambda: attrib.plots.curves({"a": TABLE}, "gene", order=["b"])),
    "logo, infinite": ("`a` has infinite entries", lambda: attrib.plots.attribution_logo(ONE_HOT[0] / 0.0)),
    "overlaid, channels": ("`image` has 2 channels", lambda: attrib.plots.overlaid(PIXELS[..., :2], PIXELS[..., 0])),
    "slice_summary, nothing": ("`indices` is empty", lambda: attrib.plots.slice_summary(VOLUME, VOLUME, "k", [])),
    "saliency, classes": ("`classes` is 3, expected a list of names", lambda: attrib.functional.saliency(torch.nn.Linear(3, 2), torch.ones(1, 3), target=0, classes=3)),
    "saliency, coords": ("`coords` is 3, expected a mapping", lambda: attrib.saliency(torch.nn.Linear(3, 2), np.ones((1, 3), "float32"), target=0, coords=3)),  # type: ignore[arg-type]
    "saliency, dims": ("`dims` is 3, expected a sequence", lambda: attrib.saliency(torch.nn.Linear(3, 2), np.ones((1, 3), "float32"), target=0, dims=3)),  # type: ignore[arg-type]
    "occlusion, only": ("`only` is 1, expected the number or name of one of the 1 inputs", lambda: attrib.occlusion(torch.nn.Linear(3, 2), np.ones((1, 3), "float32"), target=0, window=1, only=1)),
    "infidelity, function": ("`perturb_func` is 'noise', expected a function", lambda: attrib.functional.infidelity(torch.nn.Linear(3, 2), torch.ones(1, 3), torch.ones(1, 3), perturb_func="noise", target=0)),  # type: ignore[arg-type]
    "predict, outputs": ("`outputs` is 3, expected a sequence", lambda: attrib.predict(torch.nn.Linear(3, 2), np.ones((1, 3), "float32"), outputs=3)),
    "cohort, output": ("`output` is empty, expected a path", lambda: attrib.cohort("saliency", torch.nn.Linear(2, 1), TABLE, "")),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_named(case: str) -> None:
    text, call = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=text):
        call()


def test_whole_numbers_do_not_cut_off_what_lies_between_them() -> None:
    whole = ONE_HOT.astype(int)
    np.testing.assert_array_equal(attrib.domains.sequences.uniform(whole), 0.25)
    np.testing.assert_array_equal(attrib.domains.sequences.uniform(whole.astype(bool)), 0.25)
    counts, label = np.array([[0], [9]]), np.array(["a", "a"])
    more = attrib.domains.expression.augmented(counts, label, 5)
    np.testing.assert_allclose(
        more.x, attrib.domains.expression.augmented(counts * 1.0, label, 5).x, rtol=1e-6
    )
    logs = attrib.domains.expression.transformed(xr.DataArray(np.array([200], "u1"), dims="gene"), "log1p")
    assert logs.item() == pytest.approx(
        np.log(201), rel=1e-6
    )  # NumPy gives bytes logarithms in half precision


def test_sequences_of_images_go_by_the_samples_labels() -> None:
    fcgr = attrib.domains.fcgr
    texts = xr.DataArray(["ATATATG", "GGGTTCC"], dims="sample", coords={"sample": ["a", "b"]})
    images = fcgr.fcgr(texts, k=2).drop_vars("sequence", errors="ignore")
    expected = fcgr.along(images, texts)
    for sequences in (texts[::-1], texts[::-1].to_series()):
        xr.testing.assert_equal(fcgr.along(images, sequences), expected)
    xr.testing.assert_allclose(fcgr.tangent(images, images[::-1]), fcgr.tangent(images, images))
    genes = xr.DataArray(
        np.ones((1, 40)), dims=("sample", "gene"), coords={"gene": [f"g{k}" for k in range(40)]}
    )
    names = [*genes.gene.values[1:], "new"]
    fill = pd.Series(np.arange(40.0), index=names)
    rows = attrib.domains.expression.aligned(genes, names, fill[::-1]).x
    assert rows.sel(gene="new").item() == 39


def test_few_samples_are_split_in_as_many_folds_as_a_label_has_samples() -> None:
    place = attrib.domains.expression.split_by_group(["a", "b"] * 6, test=0.125, validation=0.125)
    assert set(place) == {"train", "validation", "test"}
