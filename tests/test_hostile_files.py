"""Files that would run code where a library believes them: a hostile one of each format, and proof that its code did not run.

Where the library alone does run it, the test shows that first: a file whose code cannot run proves nothing.
"""

import contextlib
import json
import os
import pickle
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from torch import nn

from attrib.domains.cells import read_mask
from attrib.domains.expression import read_gmt, read_matrix
from attrib.domains.sequences import read_bed, read_fasta, read_seqdata, read_table, read_vcf
from attrib.io import from_nifti, load, load_motifs, opened, read
from attrib.io.place import read_json
from attrib.scale.blocks import opened_tree
from attrib.scale.loading import load_exported, read_weights


class Code:
    """An object whose pickle makes a file when it is opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "mark"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound `.pt2` file whose number of rows is free."""
    file = tmp_path_factory.mktemp("program") / "model.pt2"
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    free = ({0: torch.export.Dim.AUTO},)
    torch.export.save(torch.export.export(model, (torch.randn(2, 3),), dynamic_shapes=free), file)
    return file


def rewritten(
    file: Path, to: Path, change: Callable[[str, bytes], bytes], more: dict[str, bytes] | None = None
) -> Path:
    """The archive with other members."""
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(to, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
        root = old.namelist()[0].split("/")[0]
        for name, raw in (more or {}).items():
            new.writestr(f"{root}/{name}", raw)
    return to


def in_program(edit: Callable[[dict[str, Any]], None]) -> Callable[[str, bytes], bytes]:
    def change(name: str, raw: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return raw
        content = json.loads(raw)
        edit(content)
        return json.dumps(content).encode()

    return change


def test_a_sound_program_is_read(program: Path) -> None:
    x = torch.randn(5, 3)
    expected = torch.export.load(program).module()(x)
    assert torch.equal(load_exported(program)(x), expected)


def test_sample_inputs_of_a_program_are_not_unpickled(program: Path, tmp_path: Path, mark: Path) -> None:
    bad = pickle.dumps(((Code(mark),), {}))
    file = rewritten(program, tmp_path / "bad.pt2", lambda n, raw: bad if "sample_inputs" in n else raw)
    with pytest.raises(ValueError, match=r"sample_inputs/model.pt is a pickle that could run code") as raised:
        load_exported(file)
    assert isinstance(raised.value.__cause__, pickle.UnpicklingError)  # and no warning of torch's beside it
    assert not mark.exists()
    with pytest.raises(Exception):  # noqa: B017, PT011 - torch runs it, and then finds it odd
        torch.export.load(file)
    assert mark.exists()


def test_weights_of_a_program_are_not_unpickled(program: Path, tmp_path: Path, mark: Path) -> None:
    def change(name: str, raw: bytes) -> bytes:
        if name.endswith("weights/weight_0"):
            return pickle.dumps(Code(mark))
        if name.endswith("model_weights_config.json"):
            content = json.loads(raw)
            next(iter(content["config"].values()))["use_pickle"] = True
            return json.dumps(content).encode()
        return raw

    with pytest.raises(ValueError, match=r"weights/weight_0 is a pickle that could run code"):
        load_exported(rewritten(program, tmp_path / "bad.pt2", change))
    assert not mark.exists()


def test_objects_of_a_program_are_not_read(program: Path, tmp_path: Path, mark: Path) -> None:
    def change(name: str, raw: bytes) -> bytes:
        if name.endswith("model_constants_config.json"):
            payload = {
                "path_name": "opaque_obj_0",
                "is_param": False,
                "use_pickle": True,
                "tensor_meta": None,
            }
            return json.dumps({"config": {"c": payload}}).encode()
        return raw

    more = {"data/constants/opaque_obj_0": pickle.dumps(Code(mark))}
    with pytest.raises(ValueError, match="the object 'opaque_obj_0'"):
        load_exported(rewritten(program, tmp_path / "bad.pt2", change, more))
    assert not mark.exists()


def _expression(mark: Path) -> Callable[[dict[str, Any]], None]:
    def edit(content: dict[str, Any]) -> None:
        sizes = content["graph_module"]["graph"]["tensor_values"]["input"]["sizes"]
        sizes[0]["as_expr"]["expr_str"] = f"__import__('os').mkdir({str(mark)!r}) or Integer(1)"

    return edit


def _argument(mark: Path) -> Callable[[dict[str, Any]], None]:
    def edit(content: dict[str, Any]) -> None:
        signature = content["graph_module"]["module_call_graph"][0]["signature"]
        signature["forward_arg_names"] = [f"x=__import__('os').mkdir({str(mark)!r})"]

    return edit


def _target(target: str) -> Callable[[dict[str, Any]], None]:
    def edit(content: dict[str, Any]) -> None:
        content["graph_module"]["graph"]["nodes"][0]["target"] = target

    return edit


def _guard(mark: Path) -> Callable[[dict[str, Any]], None]:
    def edit(content: dict[str, Any]) -> None:
        content["guards_code"] = [f"__import__('os').mkdir({str(mark)!r})"]

    return edit


def _structure(mark: Path) -> Callable[[dict[str, Any]], None]:
    def edit(content: dict[str, Any]) -> None:
        context = json.dumps({"__enum__": True, "fqn": "antigravity:a", "name": "b"})
        spec = [1, {"type": "builtins.dict", "context": context, "children_spec": []}]
        content["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = json.dumps(spec)

    return edit


PROGRAMS: dict[str, tuple[Callable[[Path], Callable[[dict[str, Any]], None]], str]] = {
    "an expression": (_expression, "the expression"),
    "an argument's name": (_argument, "the name .x=__import__"),
    "a guard": (_guard, "the expression"),
    "a structure": (_structure, "the structure"),
    "a function of torch": (lambda mark: _target("torch.load"), "the op 'torch.load'"),
    "a library": (lambda mark: _target("torch.ops.load_library"), "the op 'torch.ops.load_library'"),
    "a file": (lambda mark: _target("torch.ops.aten.from_file.default"), "the op 'torch.ops.aten.from_file.default'"),
    "a custom op": (lambda mark: _target("torch.ops.mine.run.default"), "the op 'torch.ops.mine.run.default'"),
    "a function of Python": (lambda mark: _target("_operator.methodcaller"), "the op '_operator.methodcaller'"),
}  # fmt: skip


@pytest.mark.parametrize("what", PROGRAMS)
def test_programs_do_not_run_what_they_name(what: str, program: Path, tmp_path: Path, mark: Path) -> None:
    make, text = PROGRAMS[what]
    file = rewritten(program, tmp_path / "bad.pt2", in_program(make(mark)))
    with pytest.raises(ValueError, match=text):
        load_exported(file)
    assert not mark.exists()
    if what == "an expression":  # torch alone runs it
        with contextlib.suppress(Exception):
            torch.export.load(file)
        assert mark.exists()


ARCHIVES: dict[str, tuple[str, str]] = {
    "compiled code": ("data/aotinductor/model/x.so", "no compiled code"),
    "a path that leads away": ("../../evil", "outside of the archive's folder"),
    "a member twice": ("archive_version", "twice"),
}


@pytest.mark.parametrize("what", ARCHIVES)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_no_program_has(what: str, program: Path, tmp_path: Path) -> None:
    name, text = ARCHIVES[what]
    with pytest.raises(ValueError, match=text):
        load_exported(rewritten(program, tmp_path / "bad.pt2", lambda n, raw: raw, {name: b"0"}))


def test_a_compressed_program_is_refused(program: Path, tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(program) as old,
        zipfile.ZipFile(tmp_path / "a.pt2", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(ValueError, match="is compressed"):
        load_exported(tmp_path / "a.pt2")


def test_state_dicts_are_read_as_weights_only(tmp_path: Path, mark: Path) -> None:
    torch.save({"weight": torch.ones(1), "more": Code(mark)}, tmp_path / "w.pt")
    with pytest.raises(
        ValueError,
        match=r"cannot be read as weights only \(it holds a pickled posix.mkdir, whose code is not run\)",
    ):
        read_weights(tmp_path / "w.pt")
    assert not mark.exists()
    torch.load(tmp_path / "w.pt", weights_only=False)
    assert mark.exists()


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays_of_objects_are_not_unpickled(suffix: str, tmp_path: Path, mark: Path) -> None:
    values = np.array([Code(mark)], dtype=object)
    file = tmp_path / f"x{suffix}"
    np.save(file, values, allow_pickle=True) if suffix == ".npy" else np.savez(
        file, x=values, allow_pickle=True
    )
    with pytest.raises(ValueError, match=r"cannot be read as .*it holds Python objects, whose pickle could run code and is not opened"):  # fmt: skip
        read(file, variables=None if suffix == ".npy" else ["x"])
    assert not mark.exists()
    opened = np.load(file, allow_pickle=True)
    if suffix == ".npz":
        opened["x"]
    assert mark.exists()


@pytest.mark.filterwarnings("ignore::Warning")  # of Zarr, on stores at addresses
@pytest.mark.parametrize("place", [".zarray", ".zmetadata", "zarr.json"])
def test_zarr_stores_do_not_choose_a_codec_that_runs_code(place: str, tmp_path: Path, mark: Path) -> None:
    pytest.importorskip("zarr")
    numcodecs = pytest.importorskip("numcodecs")
    store = tmp_path / "x.zarr"
    xr.DataArray(np.ones(2), dims="sample", name="x").to_dataset().to_zarr(
        store, zarr_format=3 if place == "zarr.json" else 2, consolidated=place == ".zmetadata"
    )
    pickled = {"id": "pickle", "protocol": 5}
    file = next(p for p in store.rglob(place) if place == ".zmetadata" or p.parent.name == "x")
    content = json.loads(file.read_text())
    if place == ".zarray":
        content["filters"] = [pickled]
        (store / "x" / "0").write_bytes(numcodecs.get_codec(content["compressor"]).encode(pickle.dumps(Code(mark))) if content["compressor"] else pickle.dumps(Code(mark)))  # fmt: skip
    elif place == ".zmetadata":
        content["metadata"]["x/.zarray"]["filters"] = [pickled]
    else:
        content["codecs"] = [{"name": "numcodecs.pickle", "configuration": pickled}]
    file.write_text(json.dumps(content))
    refused = pytest.raises(ValueError, match=r"asks for the codec '(numcodecs.)?pickle', which is not run")
    with refused:
        read(store)
    with refused:
        opened_tree(store)
    pytest.importorskip("fsspec")
    with pytest.raises(ValueError, match=r"pickle|no array that Zarr can read"):  # here, or by Zarr before
        opened(f"file://{store}")
    assert not mark.exists()


@pytest.mark.filterwarnings("ignore::Warning")  # of Zarr, on stores at addresses
@pytest.mark.parametrize("form", ["plain", "consolidated", "array too"])
@pytest.mark.parametrize("reader", [load, opened_tree, read_seqdata, lambda store: opened(f"file://{store}")], ids=["load", "opened_tree", "read_seqdata", "opened"])  # fmt: skip
def test_zarr_groups_do_not_hide_a_codec(
    reader: Callable[[Path], Any], form: str, tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Codecs behind one that says text: Zarr runs the last first. A group that calls itself an array too is opened as either."""
    pickles = pytest.importorskip("numcodecs.pickles")
    pytest.importorskip("fsspec")
    monkeypatch.setattr(
        pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False
    )  # as numcodecs before 0.16.6
    store = tmp_path / "x.zarr"
    (store / "x").mkdir(parents=True)
    plain = {"zarr_format": 2, "shape": [2], "chunks": [2], "fill_value": 0, "order": "C", "compressor": None}
    hidden = plain | {"dtype": "|O", "filters": [{"id": "vlen-utf8"}, {"id": "pickle", "protocol": 5}]}
    members = {
        ".zgroup": {"zarr_format": 2},
        "x/.zarray": hidden,
        "x/.zattrs": {"_ARRAY_DIMENSIONS": ["sample"]},
    }
    if form == "array too":
        members[".zarray"] = plain | {"dtype": "<f8", "filters": None}
    if form == "consolidated":
        members[".zmetadata"] = {"zarr_consolidated_format": 1, "metadata": dict(members)}
    for name, member in members.items():
        (store / name).write_text(json.dumps(member))
    (store / "x" / "0").write_bytes(pickle.dumps(Code(mark)))
    with pytest.raises(ValueError, match="asks for the codec 'pickle', which is not run"):
        reader(store)
    assert not mark.exists()
    allowed = zarr.config.set({"array.allow_unsafe_pickle_decode": True})  # Zarr 3.2 and later ask as well
    with allowed, pytest.raises(TypeError):  # the code has run, and left no text
        xr.open_zarr(store, chunks=None, consolidated=form == "consolidated").load()
    assert mark.exists()


@pytest.mark.filterwarnings("ignore::Warning")  # of Zarr, on stores at addresses
def test_a_store_that_changes_its_description_is_read_as_it_was_looked_at(
    tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may answer each question once; the pickle comes with the second answer."""
    pytest.importorskip("fsspec")
    pickles = pytest.importorskip("numcodecs.pickles")
    monkeypatch.setattr(pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)
    store = tmp_path / "x.zarr"
    a = xr.DataArray(np.ones(2), dims="sample", name="x")
    a.to_dataset().to_zarr(store, zarr_format=2, consolidated=False, encoding={"x": {"compressors": None}})
    found = opened(f"file://{store}")
    described = json.loads((store / "x" / ".zarray").read_text())
    described |= {"dtype": "|O", "filters": [{"id": "pickle", "protocol": 5}]}
    (store / "x" / ".zarray").write_text(json.dumps(described))
    assert np.array_equal(found["x"], a)
    (store / "x" / "0").write_bytes(pickle.dumps(Code(mark)))
    with contextlib.suppress(Exception):  # some bytes, not an object
        found["x"].load()
    assert not mark.exists()


def test_sound_zarr_stores_are_read(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    a = xr.DataArray(
        np.arange(6.0).reshape(2, 3), dims=("sample", "gene"), coords={"gene": [3, 1, 2]}, name="x"
    )
    for version in (2, 3):
        a.to_dataset().to_zarr(tmp_path / f"{version}.zarr", zarr_format=version, consolidated=False)
        assert np.array_equal(read(tmp_path / f"{version}.zarr"), a)
    described = tmp_path / "3.zarr" / "zarr.json"  # Zarr 3.1.0 writes that there are no such descriptions
    described.write_text(json.dumps(json.loads(described.read_text()) | {"consolidated_metadata": None}))
    assert np.array_equal(read(tmp_path / "3.zarr"), a)
    a.to_dataset().to_zarr(tmp_path / "far.zarr", zarr_format=2, consolidated=True)
    assert np.array_equal(opened(f"file://{tmp_path / 'far.zarr'}")["x"], a)


def test_images_of_other_formats_are_not_opened(
    tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An EPS picture whose file is called .png: Pillow would hand it to Ghostscript."""
    image = pytest.importorskip("PIL.Image")
    from attrib.domains.cells import read_image

    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nmkdir {mark}\n")
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    eps = pytest.importorskip("PIL.EpsImagePlugin")
    monkeypatch.setattr(eps, "gs_binary", None, raising=False)
    file = tmp_path / "a.png"
    file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(ValueError, match="no image that can be read"):
        read_image(file)
    assert not mark.exists()
    with pytest.raises(Exception), image.open(file) as opened:  # noqa: B017, PT011 - it is a picture to Pillow
        opened.load()
    assert mark.exists()


def test_configs_of_checkpoints_do_not_run_code(
    tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is a person asked on the terminal whether they may."""
    transformers = pytest.importorskip("transformers")
    from attrib.workflows.checkpoint import load_checkpoint

    config = transformers.ConvNextV2Config(
        num_stages=1, hidden_sizes=[4], depths=[1], patch_size=4, num_labels=2
    )
    transformers.ConvNextV2ForImageClassification(config).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        '{"image_processor_type": "ViTImageProcessor", "size": 8}'
    )
    content = json.loads((tmp_path / "config.json").read_text())
    content |= {
        "model_type": "mine",
        "auto_map": {n: f"mine.{n}" for n in ("AutoConfig", "AutoModelForImageClassification")},
    }
    (tmp_path / "config.json").write_text(json.dumps(content))
    (tmp_path / "mine.py").write_text(f"import os\nos.mkdir({str(mark)!r})\n")
    monkeypatch.setattr("builtins.input", lambda *a: pytest.fail("a question on the terminal"))
    with pytest.raises(ValueError, match=r"`auto_map`., which is never run"):
        load_checkpoint(tmp_path)
    assert not mark.exists()


CLAIMS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a header that claims more than the file": (lambda f: _header(f, (10**12,)), "its header says"),
    "a member that leads away": (lambda f: _member(f, "../x.npy"), "lies outside of the archive"),
    "a member larger than memory": (lambda f: _huge(f), "would take"),
}  # fmt: skip


def _header(file: Path, shape: tuple[int, ...]) -> Path:
    with (file.with_suffix(".npy")).open("wb") as raw:
        np.lib.format.write_array_header_1_0(raw, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return file.with_suffix(".npy")


def _member(file: Path, name: str) -> Path:
    with zipfile.ZipFile(file.with_suffix(".npz"), "w") as archive:
        archive.writestr(name, b"")
    return file.with_suffix(".npz")


def _huge(file: Path) -> Path:
    """The directory of the archive claims 2^50 bytes for a member that has none: a bomb that took no time to make."""
    path = _member(file, "x.npy")
    with zipfile.ZipFile(path, "a") as archive:
        archive.filelist[0].file_size = 2**50
        archive._didModify = True
    return path


@pytest.mark.parametrize("what", CLAIMS)
def test_claims_of_arrays_are_checked_before_memory_is_asked_for(what: str, tmp_path: Path) -> None:
    make, text = CLAIMS[what]
    with pytest.raises(ValueError, match=text):
        read(make(tmp_path / "x"))


def test_masks_of_numpy_are_looked_at_too(tmp_path: Path, mark: Path) -> None:
    pytest.importorskip("PIL")
    np.save(tmp_path / "o.npy", np.array([Code(mark)], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="is no mask that can be read: it holds Python objects"):
        read_mask(tmp_path / "o.npy")
    assert not mark.exists()
    with pytest.raises(ValueError, match="is no mask that can be read: its header says"):
        read_mask(_header(tmp_path / "x", (10**12,)))


def _bed(path: Path) -> Any:
    genome = path.with_name("g.fa")
    genome.write_text(">c\nACGTACGT\n")
    return read_bed(path, genome)


TEXTS: dict[str, tuple[str, str, Callable[[Path], Any]]] = {  # CALL stands for Python that makes a folder
    "FASTA": ("a.fa", ">CALL\nCALL\n", read_fasta), "BED": ("a.bed", "c\tCALL\t4\nc\t0\t4\tCALL\n", _bed),
    "VCF": ("a.vcf", "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\nc\t7\tCALL\tCALL\tG\n", read_vcf),
    "table": ("a.csv", "sequence,label\nACGT,CALL\nCALL,1\n", read_table), "formulas": ("a.tsv", "sequence\tlabel\nACGT\t=CALL\n", read_table),
    "MEME": ("a.meme", "MEME version 4\n\nALPHABET= ACGT\n\nMOTIF a\nletter-probability matrix: w= 1\nCALL\n", load_motifs),
    "JASPAR": ("a.jaspar", ">a\nA [ CALL ]\nC [ 1 ]\nG [ 1 ]\nT [ 1 ]\n", load_motifs), "TRANSFAC": ("a.tf", "ID a\nP0 A C G T\n1 CALL 1 1 1\n//\n", load_motifs),
    "HOMER": ("a.motif", ">A\tCALL\t1\n0.1 0.2 0.3 CALL\n", load_motifs), "matrix": ("a.tsv", "sample\tg1\tg2\ns1\tCALL\t2\n", read_matrix),
    "gene sets": ("a.gmt", "CALL\tCALL\tg1\tCALL\n", read_gmt), "long CSV": ("a.csv", "sample,gene,attribution\na,CALL,1\n", load),
    "record": ("a.json", '{"__reduce__": "CALL", "py/object": "os.mkdir"}', read_json),
}  # fmt: skip


@pytest.mark.parametrize("what", TEXTS)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of motifs that were left out
def test_text_is_text(what: str, tmp_path: Path, mark: Path) -> None:
    """Python where a number or a name should be: it is a name, or no number."""
    name, text, reader = TEXTS[what]
    file = tmp_path / name
    file.write_text(text.replace("CALL", f"__import__('os').mkdir({str(mark)!r})".replace('"', "'")))
    with contextlib.suppress(ValueError):
        reader(file)
    assert not mark.exists()


def test_pickles_in_formats_that_have_room_for_them(tmp_path: Path, mark: Path) -> None:
    """An extension of NIfTI that says it is a pickle, an attribute of HDF5, the metadata of safetensors, and a pickle called one."""
    raw = pickle.dumps(Code(mark))
    netcdf4 = pytest.importorskip("netCDF4")
    with netcdf4.Dataset(tmp_path / "a.nc", "w") as content:
        content.createDimension("sample", 2)
        content.createVariable("x", "f4", ("sample",))[:] = 1
        content.setncattr("pickle", np.frombuffer(raw, "uint8"))
    assert read(tmp_path / "a.nc").sum() == 2
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file({"w": torch.ones(1)}, tmp_path / "w.safetensors", {"pickle": raw.hex()})
    assert list(read_weights(tmp_path / "w.safetensors")) == ["w"]
    (tmp_path / "p.safetensors").write_bytes(raw)
    with pytest.raises(ValueError, match="safetensors"):
        read_weights(tmp_path / "p.safetensors")
    assert not mark.exists()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_extensions_of_volumes_are_not_unpickled(suffix: str, tmp_path: Path, mark: Path) -> None:
    nib = pytest.importorskip("nibabel")
    image = nib.Nifti1Image(np.ones((2, 3, 4), "float32"), np.eye(4))
    image.header.extensions.append(
        nib.nifti1.Nifti1Extension(16, pickle.dumps(Code(mark)))
    )  # 16: a pickle of Python
    nib.save(image, tmp_path / f"a{suffix}")
    assert float(from_nifti(tmp_path / f"a{suffix}").sum()) == 24
    assert not mark.exists()
