"""The study of sequences, from the command line: a known truth found again, files, reruns, refusals."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from attrib.cli.run import OK, REFUSED, run
from attrib.domains.sequences import one_hot, read_fasta
from attrib.io import load, load_modisco, load_motifs, save_motifs
from attrib.workflows.folder import Folder
from attrib.workflows.sequence import Search, Source, convolution, files, parts, sequence
from attrib.workflows.sequence.discovery import program as modisco_program
from attrib.workflows.sequence.experiments import COLUMNS, _backgrounds, evolved
from attrib.workflows.sequence.files import _experiment_picture
from attrib.workflows.sequence.settings import importance, leading, read_records
from tests.browser import held
from tests.jaspar import database
from tests.planted import LENGTH, Planted, accuracy, fasta, planted, trained

pytest.importorskip("memelite")

EXECUTABLE = sys.executable


def load_npz(path: Path) -> np.ndarray:
    with np.load(path) as arrays:
        return arrays["arr_0"]


MODEL = """
import torch
from torch import nn
from tests.planted import network

class Flat(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.out = nn.Linear(4 * 80, 1)
    def forward(self, x):
        return self.out(x.flatten(1))

class Turned(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = network()
    def forward(self, x):
        return self.inner(x.transpose(1, 2))

class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.read = nn.Conv1d(4, 3, 5)
    def forward(self, x):
        return self.read(nn.functional.avg_pool1d(x, 2)).amax((1, 2))

def pooled():
    return Pooled()

def track():
    return nn.Conv1d(4, 2, 5)

def flat():
    return Flat()

def turned():
    return Turned()

def two_heads():
    net = nn.Conv1d(4, 2, 5)
    return lambda x: (net(x), net(x).amax(2))
"""


def chosen(n: int = 40) -> Planted:
    """Held-out sequences with the first motif."""
    data = planted(4 * n, 1)
    keep = np.flatnonzero(data.labels[:, 0])[:n]
    return Planted(*(v[keep] for v in data))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Code, weights, sequences and known motifs, as a user has them."""
    folder = tmp_path_factory.mktemp("sequence")
    (folder / "planted_model.py").write_text(MODEL)
    torch.save(trained().state_dict(), folder / "weights.pt")
    data = chosen()
    (folder / "a.fa").write_text(fasta(data))
    bad = ">x1\nACGTXACGT\n>empty\n>short\nACGTACGTACGT\n>s0\n" + "ACGT" * (LENGTH // 4) + "\n"
    (folder / "bad.fa").write_text(fasta(Planted(*(v[:3] for v in data))) + bad)
    (folder / "none.fa").write_text("")
    (folder / "wrong.csv").write_text("a,b\n1,2\n")
    (folder / "bound.bed").write_text("chr1\t3\t90\tpeak\n")
    (folder / "some.vcf").write_text("chr1\t9\trs9\tA\tC\n")
    save_motifs(database(), folder / "known.meme")
    return folder


def summary_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    return place


NETWORK = ("--model", "tests.planted:network", "--weights", "weights.pt", "--target", "0")
QUICK = ("--methods", "saliency", "--pictures", "0", "--max-samples", "3")


@pytest.fixture(scope="module")
def study(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study as it is written on the page of the documentation."""
    folder = tmp_path_factory.mktemp("results") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        words = [
            *NETWORK,
            "--data",
            "a.fa",
            "--motifs",
            "known.meme",
            "--insert",
            "NHLH1",
            "--pictures",
            "2",
        ]
        assert run(["sequence", *words, "--output", str(folder)]) == OK
    return folder


def test_the_network_has_learned_it() -> None:
    assert accuracy(trained(), planted(500, 2)) > 0.93


@pytest.mark.parametrize("method", ["deep_lift", "in_silico_mutagenesis"])
def test_planted_positions_lead_the_attribution(study: Path, method: str) -> None:
    """AUROC of the magnitude, since letters drawn from a matrix may speak against the motif."""
    from sklearn.metrics import roc_auc_score

    results = load(study / "attributions.nc") | {"in_silico_mutagenesis": load(study / "ism.nc")}
    size = abs(importance(method, results[method], results["sequence"])).values
    sites = chosen().sites[:, :, 0]
    assert np.mean([roc_auc_score(s, v) for s, v in zip(sites, size, strict=True)]) >= 0.95


def test_filters_and_seqlets_find_the_motifs(study: Path) -> None:
    hits = pd.read_csv(study / "tomtom.csv").drop_duplicates("motif").set_index("motif")
    assert hits.target["seqlets_0"] == "MA0139.1"
    assert hits.q["seqlets_0"] < 1e-3
    filters = hits[hits.index.str.startswith("filter") & (hits.q < 1e-3)]
    assert set(filters.target) == {"MA0139.1", "MA0046.1"}
    motifs = load_motifs(study / "motifs.meme")
    assert {"seqlets_0", *filters.index} <= set(motifs)
    table = pd.read_csv(study / "filters.csv")
    assert len(table) == 16
    assert all(
        motifs[f"filter_{k}"].sites == n for k, n in zip(table["filter"], table.sites, strict=True) if n
    )


def test_seqlets_lie_on_the_planted_sites(study: Path) -> None:
    data = chosen()
    seqlets = pd.read_csv(study / "seqlets.csv")
    best = seqlets[seqlets.cluster == "seqlets_0"].drop_duplicates("record")
    assert len(best) >= 36
    inside = [data.sites[int(r.record[1:]), r.start : r.end, 0].mean() for r in best.itertuples()]
    assert np.mean(inside) > 0.9
    letters = [
        "".join("ACGT"[c] for c in data.codes[int(r.record[1:]), r.start : r.end]) for r in best.itertuples()
    ]
    assert best.letters.tolist() == letters


def test_experiments_show_the_effect(study: Path) -> None:
    table = pd.read_csv(study / "experiments.csv").set_index(["experiment", "motif"])
    inserted = table.loc["marginalize"]
    assert inserted.difference["MA0139.1"] > 5
    assert inserted.q["MA0139.1"] < 1e-6
    assert abs(inserted.difference["NHLH1"]) < 0.3 * inserted.difference["MA0139.1"]
    assert inserted.n.unique().tolist() == [100]
    ablated = table.loc["ablate"].loc["seqlets_0"]
    assert ablated.difference < -5
    assert abs(ablated.control) < 1
    assert ablated.after == pytest.approx(ablated.before + ablated.difference)


def test_what_is_written(study: Path) -> None:
    results = load(study / "attributions.nc")
    assert list(results) == ["sequence", "deep_lift", "integrated_gradients", "saliency"]
    x, a = results["sequence"], results["deep_lift"]
    assert dict(a.sizes) == {"sample": 40, "nucleotide": 4, "position": LENGTH}
    np.testing.assert_allclose(a.sum(("nucleotide", "position")) - a.delta, a.prediction - float(_scores(0.25)), rtol=1e-4, atol=1e-3)  # fmt: skip
    records = pd.read_csv(study / "records.csv")
    measured = [c for c in records if c.endswith("_deletion_z")]
    assert {c.removesuffix("_delta") + "_deletion_z" for c in records if c.endswith("_delta")} <= set(
        measured
    )
    assert bool(np.isfinite(records[measured]).all(axis=None))
    agreement = pd.read_csv(study / "method_agreement.csv", index_col="method")
    assert agreement.shape == (len(measured), len(measured))
    assert np.allclose(np.diag(agreement), 1)
    assert records.record.tolist() == [f"s{k}" for k in range(40)]
    assert records.score.to_numpy() == pytest.approx(a.prediction.values, rel=1e-5)
    assert x.sample.values.tolist() == records.record.tolist()
    ism = load(study / "ism.nc")
    assert float(abs(ism * x).max()) == 0
    record = json.loads((study / "run.json").read_text())
    assert record["state"] == "finished"
    assert record["seqlets_of"] == "deep_lift"
    assert all((study / f).is_file() for f in record["files"])
    page = (study / "index.html").read_text()
    records_drawn = [s["picture"] for s in held(page)[0]["samples"]]
    drawn = [*re.findall('<img src="(.*?)"', page), *records_drawn]
    assert len(drawn) == 5
    assert all((study / f).read_bytes().startswith(b"\x89PNG") for f in drawn)
    assert not list(study.rglob(".*"))


def _scores(value: float) -> torch.Tensor:
    return _at(value)[0, 0]


def _at(value: float) -> torch.Tensor:
    """Both outputs (2, 1) where every letter is as much there."""
    with torch.no_grad():
        return trained()(torch.full((1, 4, LENGTH), value)).T


def test_a_rerun_does_only_what_is_missing(here: Path, tmp_path: Path) -> None:
    words = [*NETWORK, "--methods", "saliency", "--pictures", "0", "--output", str(tmp_path / "out")]
    lines = Path("a.fa").read_text().splitlines(keepends=True)
    (tmp_path / "some.fa").write_text("".join(lines[:64]))
    assert run(["sequence", *words, "--data", str(tmp_path / "some.fa")]) == OK
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out/parts").iterdir()}
    assert len(before) == 1
    assert run(["sequence", *words, "--data", "a.fa"]) == OK
    after = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out/parts").iterdir()}
    assert len(after) == 2
    assert all(after[name] == time for name, time in before.items())
    assert load(tmp_path / "out/attributions.nc")["saliency"].sizes["sample"] == 40
    torn = next(p for p in (tmp_path / "out/parts").iterdir() if p.name in before)
    torn.write_bytes(torn.read_bytes()[:100])
    assert run(["sequence", *words, "--data", "a.fa"]) == OK
    assert torn.stat().st_mtime_ns != before[torn.name]


def test_a_run_that_is_stopped_goes_on(here: Path, tmp_path: Path) -> None:
    def stop(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    options: dict[str, Any] = {"methods": ["saliency"], "target": "0", "pictures": 0}
    with pytest.raises(KeyboardInterrupt):
        sequence("a.fa", trained(), tmp_path / "out", tell=stop, **options)
    assert json.loads((tmp_path / "out/run.json").read_text())["state"] == "interrupted"
    (part,) = (tmp_path / "out/parts").iterdir()
    time = part.stat().st_mtime_ns
    done = sequence("a.fa", trained(), tmp_path / "out", **options)
    assert part.stat().st_mtime_ns == time
    assert load(done / "attributions.nc")["sequence"].sizes["sample"] == 40


class Dosed(torch.nn.Module):
    """A motif scanner whose score bends with the record's dose."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.read = torch.nn.Conv1d(4, 3, 7)

    def forward(self, x: torch.Tensor, dose: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.read(x).relu().amax(2).sum(1) * dose)


def test_each_record_has_its_own_context(here: Path, tmp_path: Path) -> None:
    names = [f"s{k}" for k in range(40)]
    x = one_hot(read_fasta("a.fa").sequences)
    assert x["sample"].values.tolist() == names
    doses = np.random.default_rng(0).uniform(-1, 1, 40)
    order = np.random.default_rng(1).permutation(40)
    table = pd.DataFrame({"name": names, "dose": doses}).iloc[order]
    table.to_csv(tmp_path / "doses.csv", index=False)
    table[table.name != "s3"].to_csv(tmp_path / "fewer.csv", index=False)
    table.assign(dose=table.dose / 2).to_csv(tmp_path / "others.csv", index=False)
    letters = x.idxmax("nucleotide").values
    places = [(names[k], 30 + k, letters[k, 30 + k]) for k in range(6)]
    rows = [(n, p, ref, "A" if ref != "A" else "C") for n, p, ref in places]
    pd.DataFrame(rows, columns=["record", "position", "ref", "alt"]).to_csv(tmp_path / "v.csv", index=False)
    model = Dosed().eval()
    search = Search(variants=tmp_path / "v.csv", insert=["GATTACA"])
    options: dict[str, Any] = {
        "methods": ["input_x_gradient", "in_silico_mutagenesis"],
        "pictures": 0,
        "search": search,
    }
    with pytest.raises(ValueError, match=r"`context`: fewer\.csv lacks the samples 's3'"):
        sequence("a.fa", model, tmp_path / "out", context=[str(tmp_path / "fewer.csv")], **options)
    assert not (tmp_path / "out").exists()
    done = sequence("a.fa", model, tmp_path / "out", context=[str(tmp_path / "doses.csv")], **options)

    def alone(row: Any, k: int) -> torch.Tensor:
        return model(torch.as_tensor(row, dtype=torch.float32)[None], torch.tensor([doses[k]], dtype=torch.float32))[0]  # fmt: skip

    found = (
        load(done / "attributions.nc")["input_x_gradient"]
        .sel(sample=names)
        .transpose("sample", "nucleotide", "position")
    )
    for k in range(40):
        row = torch.tensor(x.values[k], dtype=torch.float32, requires_grad=True)
        wanted = (row * torch.autograd.grad(alone(row, k), row)[0]).numpy(force=True)
        np.testing.assert_allclose(found[k].values, wanted, rtol=1e-4, atol=1e-6)
    effects = pd.read_csv(tmp_path / "out" / "variants.csv").set_index("record")
    for name, position, _, alt in rows:
        k = names.index(name)
        changed = x.values[k].copy()
        changed[:, position] = np.array(list("ACGT")) == alt
        old, new = alone(x.values[k], k).item(), alone(changed, k).item()
        assert (effects.before[name], effects.after[name]) == pytest.approx((old, new), abs=1e-5)
    backgrounds = _backgrounds(load(done / "attributions.nc")["sequence"], 0)
    mean = np.mean([alone(b.values, names.index(str(b["record"].values))).item() for b in backgrounds])
    tested = pd.read_csv(done / "experiments.csv").query("experiment == 'marginalize'").set_index("motif")
    assert tested.before["GATTACA"] == pytest.approx(mean, abs=1e-5)
    assert (done / "filters.csv").is_file()
    sequence("a.fa", model, tmp_path / "out", context=[str(tmp_path / "doses.csv")], **options)  # continued
    with pytest.raises(ValueError, match="holds a run with other context"):
        sequence("a.fa", model, tmp_path / "out", context=[str(tmp_path / "others.csv")], **options)


OUTPUTS = ("--classes", "CTCF,HNF1A", "--target")


@pytest.fixture(scope="module")
def outputs(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study of both outputs in one run."""
    folder = tmp_path_factory.mktemp("outputs") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        words = ["--data", "a.fa", "--motifs", "known.meme", "--methods", "deep_lift", "--pictures", "3"]
        assert run(["sequence", *NETWORK[:4], *OUTPUTS, "all", *words, "--output", str(folder)]) == OK
    return folder


def test_several_outputs_have_the_attributions_of_each(study: Path, outputs: Path) -> None:
    every, single = (
        load(outputs / "attributions.nc")["deep_lift"],
        load(study / "attributions.nc")["deep_lift"],
    )
    assert every.dims == ("target", *single.dims)
    assert every.target.values.tolist() == ["CTCF", "HNF1A"]
    np.testing.assert_allclose(every.sel(target="CTCF"), single, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(every.sum(("nucleotide", "position")) - every.delta, every.prediction - _at(0.25).numpy(), rtol=1e-4, atol=1e-3)  # fmt: skip
    table, single = pd.read_csv(outputs / "records.csv"), pd.read_csv(study / "records.csv")
    assert len(table) == 80
    assert table[table.target == "CTCF"].score.tolist() == pytest.approx(single.score.tolist(), rel=1e-4)
    assert table[table.target == "HNF1A"].score.tolist() == pytest.approx(every.prediction[1].values.tolist())


def test_several_outputs_have_their_own_motifs(study: Path, outputs: Path) -> None:
    table = pd.read_csv(outputs / "motifs.csv").set_index("motif")
    assert table.match["CTCF_seqlets_0"] == "MA0139.1"
    assert table.match["HNF1A_seqlets_0"] == "MA0046.1"
    assert (table.attribution[["CTCF_seqlets_0", "HNF1A_seqlets_0"]] > 5).all()
    seqlets, single = pd.read_csv(outputs / "seqlets.csv"), pd.read_csv(study / "seqlets.csv")
    of_ctcf = seqlets[seqlets.target == "CTCF"]
    assert (
        of_ctcf[["record", "start", "end"]].values.tolist()
        == single[["record", "start", "end"]].values.tolist()
    )
    assert set(of_ctcf.cluster.dropna()) == {"CTCF_seqlets_0"}
    effect = pd.read_csv(outputs / "experiments.csv").set_index(["experiment", "motif", "target"]).difference
    for motif, other in (("CTCF", "HNF1A"), ("HNF1A", "CTCF")):
        name = f"{motif}_seqlets_0"
        assert effect["marginalize", name, motif] > 5 > abs(effect["marginalize", name, other])
        assert effect["ablate", name, motif] < -5 < effect["ablate", name, other]
    drawn = sorted(p.name.split("_")[2] for p in (outputs / "records").iterdir())
    assert drawn == ["CTCF.png", "CTCF.png", "HNF1A.png"]


def test_a_number_and_a_name_mean_the_same_output(here: Path, tmp_path: Path) -> None:
    words = ["sequence", *NETWORK[:4], *QUICK, "--data", "a.fa"]
    for k, target in enumerate(("0", "CTCF")):
        assert run([*words, *OUTPUTS, target, "--output", str(tmp_path / str(k))]) == OK
    one, two = (pd.read_csv(tmp_path / f"{k}/experiments.csv") for k in (0, 1))
    assert len(one)
    pd.testing.assert_frame_equal(one, two)


def test_the_output_must_be_named(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["sequence", *NETWORK[:4], *QUICK, "--data", "a.fa", "--output", str(tmp_path / "out")]
    assert run(words) == REFUSED
    assert "the model has 2 outputs: give --target a number from 0 to 1" in capsys.readouterr().err


def test_outputs_that_are_no_scores_are_refused(here: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"gives an array \(2, 76\) .* name a factory whose model reduces it"
    ):
        sequence("a.fa", "planted_model:track", tmp_path / "out", methods=["saliency"], target="0")


def test_windows_of_a_filter_can_be_counted_instead(here: Path, tmp_path: Path) -> None:
    words = ["sequence", *NETWORK, *QUICK[:4], "--data", "a.fa", "--set", "windows=20"]
    assert run([*words, "--output", str(tmp_path / "out")]) == OK
    sites = pd.read_csv(tmp_path / "out/filters.csv").sites
    assert sites[sites > 0].between(20, 25).all()  # equals of the last count too
    assert (sites > 0).sum() > 8


def test_filters_behind_pooling_are_no_motifs(here: Path, tmp_path: Path) -> None:
    done = sequence("a.fa", "planted_model:pooled", tmp_path / "out", methods=["saliency"], max_samples=3, pictures=0)  # fmt: skip
    assert "read does not run along the 80 letters" in summary_of(done)["notes"]["filters"]


class Pair(torch.nn.Module):
    """The number of GATAA with a CACGT five letters behind it, and the number of G."""

    def __init__(self) -> None:
        super().__init__()
        words = torch.stack([torch.eye(4)[["ACGT".index(c) for c in word]].T for word in ("GATAA", "CACGT")])
        self.words = torch.nn.Parameter(words)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hits = (torch.nn.functional.conv1d(x, self.words) - 4).relu()
        return torch.stack([(hits[:, 0, :-10] * hits[:, 1, 10:]).sum(1), x[:, 2].sum(1)], 1)


def test_two_motifs_at_a_distance_and_directed_evolution(here: Path, tmp_path: Path) -> None:
    sequence(
        "a.fa", Pair().eval(), tmp_path / "out", target="all", classes="pair,letters", methods=["saliency"],
        max_samples=4, pictures=0, search=Search(space=["GATAA:CACGT", f"{'A' * 500}:C"], evolve=3),
    )  # fmt: skip
    spacing = pd.read_csv(tmp_path / "out/spacing.csv").set_index(["target", "distance"])
    assert set(spacing["pair"]) == {"GATAA:CACGT"}
    notes = json.loads((tmp_path / "out/run.json").read_text())["notes"]
    assert "AAA:C left out: longer than most records" in notes["spacing"]
    at_five = spacing.loc[("pair", 5)]
    assert at_five.interaction == pytest.approx(1, abs=0.1)
    assert at_five.q < 1e-6
    assert spacing.loc["pair"].drop(5).interaction.abs().max() < 0.1
    assert spacing.loc["letters"].interaction.abs().max() == 0
    assert spacing.index.get_level_values("distance").max() == 60
    evolution = pd.read_csv(tmp_path / "out/evolution.csv", keep_default_na=False)
    grown = evolution[evolution.target == "letters"].pivot(index="round", columns="start", values="score")
    np.testing.assert_array_equal(grown.diff().dropna(), np.ones((3, 10)))
    row = evolution[(evolution.target == "letters") & (evolution["round"] == 1)].iloc[0]
    assert row.after == "G" == row.sequence[int(row.position)] != row.before


def test_deeper_layers_pairs_and_evolution_from_the_command_line(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    deeper = convolution.deeper_kernel
    monkeypatch.setattr(convolution, "deeper_kernel", lambda *a: (tried.append(a[1]), deeper(*a))[1])
    words = ["sequence", *NETWORK, "--methods", "saliency", "--pictures", "1", "--data", "a.fa", "--motifs", "known.meme"]  # fmt: skip
    words += [
        "--layer",
        "first,mix",
        "--set",
        "space=CTCF:GATAA",
        "evolve=2",
        "--output",
        str(tmp_path / "out"),
    ]
    assert run(words) == OK
    assert tried == ["mix"]
    filters = pd.read_csv(tmp_path / "out/filters.csv")
    assert filters.groupby("layer").letters.first().to_dict() == {
        "mix": 18,
        "motifs": 15,
    }  # 15, and 3 by pooling
    hits = pd.read_csv(tmp_path / "out/tomtom.csv")
    deep = hits[hits.motif.str.startswith("mix_filter") & (hits.q <= 0.05)]
    assert {"MA0139.1", "MA0046.1"} & set(deep.target)
    page = (tmp_path / "out/index.html").read_text()
    assert all(f in page for f in ("spacing.png", "evolution.png", "Two motifs at a distance"))
    assert run([*words[:-1], str(tmp_path / "none"), "--set", "space=CTCF"]) == REFUSED
    assert run([*words[:-1], str(tmp_path / "none"), "--layer", "mixx"]) == REFUSED
    assert not (tmp_path / "none").exists()


def test_records_are_drawn_from_the_whole_file_and_evenly_over_labels(here: Path, tmp_path: Path) -> None:
    data = planted(40, 3)
    letters = ["".join("ACGT"[c] for c in line) for line in data.codes]
    table = pd.DataFrame({"sequence": letters, "name": [f"r{k}" for k in range(40)], "label": ["a"] * 36 + ["b"] * 4})  # fmt: skip
    table.to_csv(tmp_path / "table.csv", index=False)
    source = Source(tmp_path / "table.csv", columns={"name": "name"})
    some, other = (read_records(source, max_samples=6, seed=seed).sequences for seed in (0, 1))
    assert some.label.tolist() == ["a"] * 3 + ["b"] * 3
    assert some.index.tolist() != other.index.tolist()
    plain = read_records(Source("a.fa"), max_samples=5).sequences.index.tolist()
    assert plain != [f"s{k}" for k in range(5)]
    assert plain == sorted(plain, key=lambda name: int(name[1:]))


def test_a_picture_of_some_experiments_says_so(tmp_path: Path) -> None:
    rows = [
        ("marginalize", f"m{k}", "ACGT", f"t{k}", 9, 0.0, 1.0, 1.0, 0.1, np.nan, 0.01, 0.02)
        for k in range(14)
    ]
    with Folder(tmp_path, program="attrib sequence", settings={}) as run_folder:
        files = _experiment_picture(run_folder, pd.DataFrame(rows, columns=COLUMNS))
        notes = run_folder.record["notes"]
    assert files == ["experiments.png"]
    assert notes == {"experiments.png": "the first 12 of 14; experiments.csv has all"}


def test_fasta_is_known_by_its_first_letter(tmp_path: Path) -> None:
    for name, text in (("a.txt", ">a\nACGT\n"), ("b.txt", "sequence\tx\nACGT\t1\n"), ("c.dat", ">a\nACGT\n")):
        (tmp_path / name).write_text(text)
        assert read_records(Source(tmp_path / name)).sequences.sequence.tolist() == ["ACGT"]


@pytest.mark.parametrize(("count", "size"), [(3, 3), (10, 10), (40, 10), (300, 10)])
def test_backgrounds_and_starts_are_of_all_records(count: int, size: int) -> None:
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ACGT"), 20)) for _ in range(count)]
    x = one_hot(pd.DataFrame({"sequence": texts}, index=[f"r{k}" for k in range(count)]))
    records = _backgrounds(x, 0)["record"].values
    assert len(records) == 100
    counts = pd.Series(records).value_counts()
    assert len(counts) == min(count, 100)
    assert counts.max() - counts.min() <= 1
    begun: list[np.ndarray] = []

    def scores(rows: xr.DataArray) -> xr.DataArray:
        begun.append(rows["record"].values if "record" in rows.coords else np.array([]))
        return rows.sel(nucleotide="G").sum("position").expand_dims(target=["score"], axis=1)

    table = evolved(scores, x, 1)
    assert table.start.nunique() == 10
    assert len(set(begun[0])) == size


def test_seqdata(here: Path, tmp_path: Path) -> None:
    """Letters one by one, texts, and one-hot arrays with the letters on either dim are the same records."""
    letters = [["A", "C", "G", "T"] * 20, ["G", "G", "T", "A"] * 20]
    hot = np.eye(4)[[["ACGT".index(c) for c in row] for row in letters]]
    forms = {
        "letters": (("_sequence", "_length"), np.array(letters, "S1")),
        "texts": (("_sequence",), np.array(["".join(row) for row in letters])),
        "hot": (("_sequence", "_length", "_ohe"), hot), "turned": (("_sequence", "_ohe", "_length"), hot.swapaxes(1, 2)),
    }  # fmt: skip
    for name, form in forms.items():
        column = "seq" if name in ("letters", "texts") else "ohe_seq"
        ds = xr.Dataset(
            {column: form, "id": ("_sequence", ["one", "two"]), "activity": ("_sequence", [0.5, 2.0])}
        )
        ds.to_zarr(tmp_path / f"{name}.zarr", zarr_format=2)
        records = read_records(Source(tmp_path / f"{name}.zarr")).sequences
        assert records.index.tolist() == ["one", "two"]
        assert records.sequence.tolist() == ["".join(row) for row in letters]
        assert records.activity.tolist() == [0.5, 2.0]
    with pytest.raises(ValueError, match="no variable 'dna'"):
        read_records(Source(tmp_path / "hot.zarr", columns={"sequence": "dna"}))
    words = ["sequence", "--model", "planted_model:flat", "--data", str(tmp_path / "letters.zarr"), *QUICK]
    assert run([*words, "--output", str(tmp_path / "out")]) == OK
    assert pd.read_csv(tmp_path / "out/records.csv").activity.tolist() == [0.5, 2.0]


def test_files_that_a_rerun_does_not_make_are_gone(here: Path, tmp_path: Path) -> None:
    words = [
        "sequence",
        "--model",
        "planted_model:flat",
        "--data",
        "a.fa",
        "--methods",
        "deep_lift",
        "--max-samples",
        "9",
    ]
    words += ["--output", str(tmp_path / "out")]
    assert run([*words, "--pictures", "2", "--motifs", "known.meme", "--insert", "CTCF"]) == OK
    (tmp_path / "out/notes.txt").write_text("mine")
    (picture, _) = (tmp_path / "out/records").iterdir()
    assert (tmp_path / "out/experiments.png").is_file()
    assert run([*words, "--pictures", "0"]) == OK
    files = json.loads((tmp_path / "out/run.json").read_text())["files"]
    left = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert {f for f in left if not f.startswith("parts/")} == {*files, "run.json", "notes.txt"}
    assert not picture.exists()
    assert not (tmp_path / "out/experiments.png").exists()


def test_other_settings_and_other_files_are_refused(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = ["sequence", *NETWORK, *QUICK, "--data", "a.fa", "--output"]
    assert run([*words, str(tmp_path / "out")]) == OK
    assert run([*words, str(tmp_path / "out"), "--seed", "3"]) == REFUSED
    assert "a run with other seed" in capsys.readouterr().err
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").touch()
    assert run([*words, str(tmp_path / "thesis")]) == REFUSED
    assert "files that are not attrib's" in capsys.readouterr().err


def test_a_function_with_other_weights_is_another_model(here: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"methods": ["saliency"], "max_samples": 3, "pictures": 0}
    layer = torch.nn.Conv1d(4, 1, 5)
    model = lambda x: layer(x).amax((1, 2))
    sequence("a.fa", model, tmp_path / "out", **options)
    sequence("a.fa", model, tmp_path / "out", **options)
    with torch.no_grad():
        layer.weight.mul_(2)
    with pytest.raises(ValueError, match="holds a run with other weights"):
        sequence("a.fa", model, tmp_path / "out", **options)


def test_a_run_that_did_nothing_stands_in_no_ones_way(here: Path, tmp_path: Path) -> None:
    words = [
        "sequence",
        *NETWORK[:4],
        *QUICK,
        "--data",
        "a.fa",
        "--output",
        str(tmp_path / "out"),
        "--target",
    ]
    assert run([*words, "7"]) == REFUSED
    assert not (tmp_path / "out").exists()
    assert run([*words, "1"]) == OK
    assert json.loads((tmp_path / "out/run.json").read_text())["state"] == "finished"
    assert (tmp_path / "out/records.csv").is_file()


def test_bad_records_are_listed_and_the_others_finished(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = ["sequence", "--model", "planted_model:flat", "--data", "bad.fa", "--methods", "deep_lift"]
    assert run([*words, "--pictures", "1", "--output", str(tmp_path / "out")]) == OK
    message = capsys.readouterr().out
    assert "left out x1: letter 'X' at position 4" in message
    assert "filters: the model has no convolution by name" in message
    table = pd.read_csv(tmp_path / "out/problems.csv").set_index("record")
    assert set(table.index) == {"x1", "empty", "short", "s0"}
    assert "it has 12 letters: the model fails" in table.problem["short"]
    assert table.kept.to_dict() == {"x1": False, "empty": False, "short": False, "s0": True}
    assert pd.read_csv(tmp_path / "out/records.csv").record.tolist() == ["s0", "s1", "s2", "s0_2"]


def test_lengths_that_the_model_takes_are_padded_in_the_results(here: Path, tmp_path: Path) -> None:
    done = sequence("bad.fa", "tests.planted:network", tmp_path / "out", weights="weights.pt", target="predicted", methods=["deep_lift", "in_silico_mutagenesis"], pictures=1)  # fmt: skip
    x, a = (load(done / "attributions.nc")[name] for name in ("sequence", "deep_lift"))
    assert x.sample.values.tolist() == ["s0", "s1", "s2", "short", "s0_2"]
    short = a.sel(sample="short")
    assert bool(np.isfinite(short[:, :12]).all())
    assert bool(np.isnan(short[:, 12:]).all())
    assert float(x.sel(sample="short")[:, 12:].sum()) == 0
    alone = sequence("bad.fa", trained(), tmp_path / "one", target="predicted", methods=["deep_lift"], max_samples=4, pictures=0)  # fmt: skip
    np.testing.assert_allclose(
        load(alone / "attributions.nc")["deep_lift"].sel(sample="short"), short, rtol=1e-5, atol=1e-6
    )


def test_places_on_the_genome(here: Path, tmp_path: Path) -> None:
    data = chosen()
    genome = "".join("ACGT"[c] for c in data.codes[:10].ravel())
    (tmp_path / "genome.fa").write_text(f">chr1\n{genome}\n")
    lines = [f"chr1\t{k * LENGTH}\t{(k + 1) * LENGTH}\tpeak{k}\t0\t+\n" for k in range(10)]
    (tmp_path / "peaks.bed").write_text("".join(lines) + "chr1\t790\t900\tbeyond\t0\t+\n")
    words = [
        "sequence",
        *NETWORK,
        "--data",
        str(tmp_path / "genome.fa"),
        "--bed",
        str(tmp_path / "peaks.bed"),
    ]
    assert run([*words, "--methods", "deep_lift", "--pictures", "0", "--output", str(tmp_path / "out")]) == OK
    seqlets = pd.read_csv(tmp_path / "out/seqlets.csv")
    assert len(seqlets) > 5
    for r in seqlets.itertuples():
        assert genome[r.chrom_start : r.chrom_end] == r.letters
    assert pd.read_csv(tmp_path / "out/problems.csv").record.tolist() == ["beyond"]


def test_variants_of_a_genome(here: Path, tmp_path: Path) -> None:
    """The difference is that of two calls of the model; on the - strand the complement is put in."""
    data = chosen()
    genome = "".join("ACGT"[c] for c in data.codes[:2].ravel())
    (tmp_path / "genome.fa").write_text(f">chr1\n{genome}\n")
    (tmp_path / "peaks.bed").write_text(
        f"chr1\t0\t{LENGTH}\tone\t0\t+\nchr1\t{LENGTH}\t{2 * LENGTH}\ttwo\t0\t-\n"
    )
    places = (20, LENGTH + 30)
    lines = [f"chr1\t{p + 1}\trs{p}\t{genome[p]}\t{'CA'[genome[p] == 'C']}\n" for p in places]
    (tmp_path / "v.vcf").write_text(
        "##fileformat=VCFv4.2\n" + "".join(lines) + "chr1\t9\trs8\tN\tA\nchr2\t9\trs9\tA\tC\n"
    )
    data_of = Source(tmp_path / "genome.fa", bed=tmp_path / "peaks.bed")
    search = Search(variants=tmp_path / "v.vcf")
    done = sequence(
        data_of, trained(), tmp_path / "out", search=search, pictures=0, methods=["saliency"], target="0"
    )
    table = pd.read_csv(tmp_path / "out/variants.csv").set_index("variant")
    assert table.record.to_dict() == {"rs20": "one", "rs110": "two"}
    letter = "CA"[genome[places[1]] == "C"]
    turned = genome[: places[1]] + letter + genome[places[1] + 1 :]
    for name, text in (("before", genome), ("after", turned)):
        read = text[LENGTH:].translate(str.maketrans("ACGT", "TGCA"))[::-1]
        x = torch.eye(4)[["ACGT".index(c) for c in read]].T[None]
        with torch.no_grad():
            assert table[name]["rs110"] == pytest.approx(float(trained()(x)[0, 0]), abs=1e-4)
    assert (table.after - table.before).tolist() == pytest.approx(table.difference.tolist(), abs=1e-5)
    left = pd.read_csv(tmp_path / "out/variant_problems.csv")
    assert left.set_index("record").line.to_dict() == {
        "rs8": 4,
        "rs9": 5,
    }  # of the file, whoever refused them
    assert summary_of(done)["notes"]["variants"].startswith("2 left out, see variant_problems.csv")


def test_variants_of_a_table_and_records_of_several_lengths(here: Path, tmp_path: Path) -> None:
    texts = ["".join("ACGT"[c] for c in chosen().codes[k]) for k in range(2)]
    (tmp_path / "a.fa").write_text(f">long\n{texts[0]}\n>short\n{texts[1][:60]}\n")
    rows = [("short", 5, texts[1][5]), ("long", 7, texts[0][7]), ("short", 70, "A")]
    table = pd.DataFrame(rows, columns=["record", "position", "ref"]).assign(
        alt=lambda t: ["CA"[r == "C"] for r in t.ref]
    )
    table.to_csv(tmp_path / "v.csv", index=False)
    words = ["--data", str(tmp_path / "a.fa"), "--variants", str(tmp_path / "v.csv"), *QUICK]
    assert run(["sequence", *NETWORK[:4], "--target", "all", *words, "--output", str(tmp_path / "out")]) == OK
    variants = pd.read_csv(tmp_path / "out/variants.csv")
    assert variants[["record", "position", "target"]].values.tolist() == [
        ["short", 5, 0],
        ["short", 5, 1],
        ["long", 7, 0],
        ["long", 7, 1],
    ]
    left = pd.read_csv(tmp_path / "out/variant_problems.csv")
    assert left[["record", "line"]].values.tolist() == [["short:70:A>C", 4]]
    records = pd.read_csv(tmp_path / "out/records.csv").set_index(["record", "target"]).score
    assert variants.before.tolist() == pytest.approx(
        [records[r, t] for r, t in zip(variants.record, variants.target, strict=True)], rel=1e-4
    )
    assert "<h2>Variants</h2>" in (tmp_path / "out/index.html").read_text()


MODISCO = """#!{python}
import sys, netCDF4, numpy
options = dict(zip(sys.argv[2::2], sys.argv[3::2]))
sequences, hypothetical = (numpy.load(options[k])["arr_0"] for k in ("-s", "-a"))
assert sys.argv[1] == "motifs" and sequences.shape == hypothetical.shape and options["-w"] == str(sequences.shape[2])
strongest = abs((sequences * hypothetical).sum(1)).argmax(1)
with netCDF4.Dataset(options["-o"], "w") as file:
    for name, size in (("position", 8), ("letter", 4), ("one", 1)):
        file.createDimension(name, size)
    pattern = file.createGroup("pos_patterns/pattern_0")
    windows = [sequences[i, :, k - 4 : k + 4].T for i, k in enumerate(strongest) if 4 <= k <= sequences.shape[2] - 4]
    for name in ("sequence", "contrib_scores"):
        pattern.createVariable(name, "f4", ("position", "letter"))[:] = numpy.mean(windows, 0)
    pattern.createGroup("seqlets").createVariable("n_seqlets", "i4", ("one",))[:] = len(windows)
"""


def test_modisco_gets_hypothetical_contributions_and_its_motifs_join_the_others(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a program in the place of tfmodisco-lite's that takes the strongest windows; the real one takes minutes."""
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    words = [
        "--data",
        "a.fa",
        "--methods",
        "saliency",
        "--pictures",
        "0",
        "--modisco",
        "--output",
        str(tmp_path / "out"),
    ]
    assert run(["sequence", *NETWORK, *words]) == REFUSED  # before any work, as nothing is installed
    assert not (tmp_path / "out").exists()
    program = tmp_path / "modisco"
    program.write_text(MODISCO.format(python=EXECUTABLE))
    program.chmod(0o755)
    assert run(["sequence", *NETWORK, *words]) == OK
    x, a = (
        load_npz(tmp_path / "out/modisco/sequences.npz"),
        load_npz(tmp_path / "out/modisco/hypothetical.npz"),
    )
    assert x.shape == a.shape == (40, 4, LENGTH)
    score = trained()(torch.from_numpy(x).float())[:, 0].detach().numpy()
    assert np.corrcoef((x * a).sum((1, 2)), score)[0, 1] > 0.7  # the score less that of shuffles
    table = pd.read_csv(tmp_path / "out/motifs.csv").set_index("motif")
    assert table.sites["modisco_pos_0"] > 30
    assert "modisco_pos_0" in load_motifs(tmp_path / "out/motifs.meme")
    assert "modisco_pos_0" in set(pd.read_csv(tmp_path / "out/experiments.csv").motif)
    assert run(["sequence", *NETWORK, *words, "--set", "one_strand=true"]) == REFUSED
    program.write_text(f"#!{EXECUTABLE}\nraise SystemExit('no seqlets')\n")
    assert run(["sequence", *NETWORK, *words]) == OK
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["notes"]["modisco"] == "modisco ended with 1: no seqlets"
    assert not (tmp_path / "out/modisco/results.h5").exists()


class Detector(torch.nn.Module):
    """How often, and how well, a word of ten letters is there."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self.find = torch.nn.Conv1d(4, 1, len(word))
        hot = torch.eye(4)[["ACGT".index(c) for c in word]].T
        self.find.weight = torch.nn.Parameter((hot - 0.25)[None])
        self.find.bias = torch.nn.Parameter(torch.tensor([-4.0]))  # seven right letters of ten are enough

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.find(x).relu().sum(2)


def test_the_study_runs_tfmodisco_lite(tmp_path: Path) -> None:
    """The real program finds the planted word in 300 records of 200 letters; half a minute where it is installed."""
    try:
        modisco_program()
    except ImportError:
        pytest.skip("tfmodisco-lite is not installed")
    word, rng = "ACGTGATACT", np.random.default_rng(0)
    records = []
    for k, at in enumerate(rng.integers(40, 150, 300)):
        letters = "".join(rng.choice(list("ACGT"), 200))
        records.append(f">s{k}\n{letters[:at]}{word}{letters[at + len(word) :]}\n")
    (tmp_path / "a.fa").write_text("".join(records))
    out = tmp_path / "out"
    sequence(tmp_path / "a.fa", Detector(word).eval(), out, target="0", methods=["saliency"], pictures=0, search=Search(modisco=True))  # fmt: skip
    assert "modisco" not in json.loads((out / "run.json").read_text())["notes"]
    found = load_modisco(out / "modisco/results.h5")
    assert found["pos_0"].sites > 200
    table = pd.read_csv(out / "motifs.csv").set_index("motif")
    assert table.sites["modisco_pos_0"] == found["pos_0"].sites
    letters = "".join(load_motifs(out / "motifs.meme")["modisco_pos_0"].idxmax("nucleotide").values)
    assert word[1:-1] in letters or word[::-1].translate(str.maketrans("ACGT", "TGCA"))[1:-1] in letters


def test_a_motif_that_does_not_fit_is_told(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["--data", "a.fa", "--insert", "ACGT" * 30, *QUICK, "--output", str(tmp_path / "out")]
    assert run(["sequence", *NETWORK, *words]) == OK
    assert "not inserted: longer than most records, 80 letters" in capsys.readouterr().out


def test_tables_other_layouts_and_exported_programs(here: Path, tmp_path: Path) -> None:
    rows = fasta(Planted(*(v[:4] for v in chosen()))).split()
    pd.DataFrame({"id": [r[1:] for r in rows[::2]], "utr": rows[1::2], "label": 1, "target": "x"}).to_csv(
        tmp_path / "t.csv"
    )
    table_of = Source(tmp_path / "t.csv", columns={"sequence": "utr", "name": "id"})
    options: dict[str, Any] = {"methods": ["saliency"], "target": "1"}
    turned = sequence(table_of, "planted_model:turned", tmp_path / "a", dims=("sample", "position", "nucleotide"), pictures=1, **options)  # fmt: skip
    assert load(turned / "attributions.nc")["saliency"].dims == ("sample", "position", "nucleotide")
    batch = torch.export.Dim("batch")
    program = torch.export.export(trained(), (torch.zeros(2, 4, LENGTH),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "m.pt2")
    done = sequence(table_of, str(tmp_path / "m.pt2"), tmp_path / "b", pictures=0, **options)
    plain = sequence(table_of, trained(), tmp_path / "c", pictures=0, **options)
    ours, theirs = (load(d / "attributions.nc")["saliency"] for d in (done, plain))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    table = pd.read_csv(tmp_path / "b/records.csv")
    assert table.label.tolist() == [1] * 4
    assert table.target_given.tolist() == ["x"] * 4
    assert table.Unnamed_0.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--data none.fa", "none.fa is empty"),
        ("--data nowhere.fa", "there is no file nowhere.fa"),
        ("", "Missing option '--data'"),
        ("--data known.meme", "known.meme is no FASTA file"),
        (
            "--data wrong.csv --bed bound.bed",
            "--bed holds intervals of a genome, but --data is wrong.csv, a table",
        ),
        ("--data a.fa --motifs a.fa", "a.fa has no motifs"),
        ("--data a.fa --motifs known.meme --insert NHLH2", "did you mean 'NHLH1'"),
        ("--data a.fa --insert MYC", "no motif of --motifs has this name"),
        ("--data a.fa --methods grad_cam", "--methods is grad_cam, expected some of"),
        ("--data a.fa --target on", "--target is 'on': to name a class, give --classes"),
        ("--data a.fa --set windows=0", "--set windows is 0"),
        ("--data a.fa --pictures -1", "--pictures is '-1', expected a number"),
        ("--data a.fa --layer mixx", "--layer mixx is no convolution; there are motifs, mix"),
        ("--data a.fa --target 7", "--target 7 is out of range"),
        ("--data a.fa --baselines dark", "--baselines is 'dark', expected one of uniform, zeros"),
        ("--data a.fa --set dims=sample,position", "--set dims is sample,position"),
        ("--data a.fa --set n_stepps=3", "did you mean 'n_steps'?"),
        ("--data a.fa --set spce=3", "--set has spce, expected some of width, summits, dims, space"),
        ("--data a.fa --variants nowhere.csv", "there is no file nowhere.csv"),
        ("--data a.fa --variants known.meme", "expected .vcf, .vcf.gz, .csv or .tsv"),
        ("--data a.fa --variants wrong.csv", "has the columns a, b; expected ref, alt"),
        ("--data a.fa --variants some.vcf", "the records have none; give --bed"),
        ("--data a.fa --max-samples 0", "--max-samples is 0"),
        ("--data a.fa --layer relu", "--layer relu is no convolution; there are motifs, mix"),
        (
            "--data a.fa --seed 99999999999999999999999",
            "--seed is 99999999999999999999999, expected an int of 64 bits",
        ),
        ("--data a.fa --layer ,", "--layer is empty, expected a value"),
        ("--data a.fa --layer motif", "did you mean 'motifs'?"),
        ("--data a.fa --methods deeplift", "did you mean 'deep_lift'?"),
        ("--data a.fa --baselines dinuc", "did you mean 'dinucleotide'?"),
        ("--data a.fa --columns sequence=letters", "--columns are of a table"),
        ("--data a.fa --columns letters=x", "--columns names 'letters', expected sequence or name"),
        ("--data a.fa --columns letters", "--columns is 'letters', expected NAME=OTHER"),
        ("--data bound.bed", "intervals are --bed, beside the genome"),
        (
            "--data a.fa --set dims=sample,position,nucleotide",
            "it takes them with --set dims sample,nucleotide,position",
        ),
        (
            "--data a.fa --model planted_model:two_heads",
            "name one of its heads by --target HEAD:OUTPUT, such as 1:0",
        ),
    ],
)
def test_refusals_are_one_line(
    words: str, text: str, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    network = [] if "--model" in words else NETWORK[:4] if "--target" in words else NETWORK
    options = [*network, *QUICK, *words.split()]
    assert run(["sequence", *options, "--output", str(tmp_path / "out")]) == REFUSED
    message = capsys.readouterr().err
    assert text in message
    assert message.count("\n") == 1


def test_saliency_is_compared_by_magnitudes(study: Path) -> None:
    table = pd.read_csv(study / "method_agreement.csv").set_index("method")
    assert table.loc["saliency", "deep_lift"] > 0.3
    assert table.loc["deep_lift", "integrated_gradients"] > 0.5


def test_titles_name_the_output_and_positions_say_where_they_begin(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    save = files.save_picture
    monkeypatch.setattr(
        files, "save_picture", lambda figure, path: (drawn.append(figure), save(figure, path))
    )
    words = [*NETWORK, "--data", "a.fa", "--methods", "saliency", "--max-samples", "3", "--pictures", "1"]
    assert run(["sequence", *words, "--output", str(tmp_path / "out")]) == OK
    assert "target 0" in drawn[0].get_suptitle()
    assert drawn[0].axes[-1].get_xlabel() == "position (from 0, as in seqlets.csv)"


def test_the_method_of_the_seqlets() -> None:
    assert leading(("saliency", "integrated_gradients", "deep_lift")) == "deep_lift"
    assert leading(("saliency", "in_silico_mutagenesis")) == "in_silico_mutagenesis"
    assert leading(("saliency",)) == "saliency"


def test_refused_records_stay_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a chunk whose others are done: a continued run does not try them again, and does not forget them."""
    (tmp_path / "a.fa").write_text("".join(f">r{k}\n{'ACGT' * 15}\n" for k in range(3)))
    explain = parts._explained

    def all_but_the_second(model: Any, chunk: Any, settings: Any) -> Any:
        results, bad = explain(model, chunk._replace(records=chunk.records.drop("r1")), settings)
        return results, {**bad, "r1": "it is refused"}

    monkeypatch.setattr(parts, "_explained", all_but_the_second)
    options: dict[str, Any] = {"methods": ["saliency"], "target": "0", "pictures": 0}
    first = sequence(tmp_path / "a.fa", trained(), tmp_path / "out", **options)
    monkeypatch.setattr(parts, "_explained", explain)
    second = sequence(tmp_path / "a.fa", trained(), tmp_path / "out", **options)
    for done in (first, second):
        assert [(p["record"], p["problem"]) for p in summary_of(done)["problems"]] == [
            ("r1", "it is refused")
        ]
        assert load(done / "attributions.nc")["sequence"]["sample"].values.tolist() == ["r0", "r2"]
    assert pd.read_csv(tmp_path / "out/problems.csv").record.tolist() == ["r1"]
