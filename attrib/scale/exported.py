"""Models of `torch.export`, from files of others: each member is looked at before torch reads it.

torch.export.load runs what a file says in several places: sample inputs and weights are unpickled, sizes and guards are
evaluated as Python, and names go into generated source. So an archive is written anew in memory, of members that hold numbers,
plain names and ops of ATen only. Everything else is refused.
"""

from __future__ import annotations

import ast
import io
import json
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch.export.pt2_archive._package import load_pt2  # torch.export.load logs its errors and raises another

from attrib._install import install_hint

NAME = re.compile(r"[\w.\-]*")
TARGET = re.compile(
    r"torch\.ops\.(aten|prims|torchvision|quantized_decomposed)\.\w+\.\w+"
    r"|torch\.ops\.higher_order\.(wrap_with_set_grad_enabled|wrap_with_autocast|cond|map_impl|scan|associative_scan|while_loop)"
    r"|_operator\.(add|and_|eq|floordiv|ge|getitem|gt|le|lt|mod|mul|ne|neg|not_|or_|pos|pow|sub|truediv)"
    r"|math\.(ceil|floor|sqrt|trunc)"
    r"|torch\.sym_(float|int|ite|max|min|not|sqrt|sum)"
)
FILES = re.compile(r"torch\.ops\.aten\.(from_file|_?load|save)\b")  # ops that open files
EXPRESSIONS = {
    "Abs", "Add", "And", "BooleanFalse", "BooleanTrue", "CeilDiv", "CeilToInt", "CleanDiv", "Equality", "Eq", "ExprCondPair", "Float",
    "FloatPow", "FloatTrueDiv", "FloorDiv", "FloorToInt", "Ge", "GreaterThan", "Gt", "Identity", "IntTrueDiv", "Integer",
    "IsNonOverlappingAndDenseIndicator", "LShift", "Le", "LessThan", "Lt", "Max", "Min", "Mod", "ModularIndexing", "Mul", "Ne", "Not",
    "Or", "Piecewise", "Pow", "PowByNatural", "PythonMod", "RShift", "Rational", "RoundDecimal", "RoundToInt", "StrictGreaterThan",
    "StrictLessThan", "Symbol", "ToFloat", "TruncToFloat", "TruncToInt", "Unequality", "Where", "ceiling", "floor",
}  # fmt: skip
VARIABLE = re.compile(r"[a-z]{1,3}\d+|true|false|oo|int_oo|L")
ATTRIBUTES = {"size", "shape", "stride", "storage_offset", "ndim"}
SYNTAX = (
    ast.Expression, ast.Call, ast.keyword, ast.Name, ast.Load, ast.Constant, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare,
    ast.Subscript, ast.Attribute, ast.Tuple, ast.List, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip
TREES = re.compile(
    r"builtins\.(tuple|list|dict)|collections\.OrderedDict|transformers\.modeling_outputs\.\w+"
)
PLAIN = (".data/serialization_id", ".data/version", "archive_format", "archive_version", "byteorder")
INPUTS, NUMBERS = "data/sample_inputs/", ("data/weights/", "data/constants/")


def load_exported(file: Path) -> Any:
    """The model in a file of `torch.export.save`, without running code of the file.

    Parameters
    ----------
    file : Path
        A `.pt2` archive.

    Returns
    -------
    Module

    Raises
    ------
    ValueError
        For files of another kind, and for members that hold more than numbers, names and ops of ATen. The message names them.

    Notes
    -----
    Memory: the file twice. Ops of a program that open files, custom ops and compiled code are refused too.
    """
    try:
        content = _rewritten(file)
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError, json.JSONDecodeError, OSError) as error:
        raise ValueError(f"{file} is no model written by torch.export.save: {error}") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return load_pt2(content).exported_programs["model"].module()
    except Exception as error:  # whatever a file that is no export does to the reader
        text = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"{file} is no model written by torch.export.save: {text[0]}") from error


def _rewritten(file: Path) -> io.BytesIO:
    """The archive with the members that were looked at, and no others."""
    content = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as new:
        members = list(_members(old, file))
        tables = [(n, i) for n, i in members if i.startswith(NUMBERS) and i.endswith("_config.json")]
        pickled = set().union(*(_pickles(i, old.read(n), f"{file}, {i}") for n, i in tables))
        for name, inside in members:
            where = f"{file}, {inside}"
            if inside.startswith("models/") and inside.endswith(".json"):
                new.writestr(name, json.dumps(_program(json.loads(old.read(name)), where)))
            elif inside in PLAIN or inside.startswith((*NUMBERS, INPUTS)):
                raw = old.read(name)
                if inside in pickled or inside.endswith(".pt"):
                    _refuse_code(raw, where)
                new.writestr(name, raw)
            elif not inside.startswith("extra/"):
                raise ValueError(
                    f"{where} is not opened: only programs of torch.export.save are read, and no compiled code"
                )
    content.seek(0)
    return content


def _members(archive: zipfile.ZipFile, file: Path) -> Iterator[tuple[str, str]]:
    """Each member's name, and its name below the archive's folder.

    Raises
    ------
    ValueError
        For names that come twice or lead out of the folder, and members that are compressed: torch stores them as they are.
    """
    seen: set[str] = set()
    for member in archive.infolist():
        parts = PurePosixPath(member.filename).parts
        if len(parts) < 2 or ".." in parts or member.filename.startswith("/") or "\\" in member.filename:
            raise ValueError(
                f"{file} is no model written by torch.export.save: its member {member.filename!r} is outside of the archive's "
                "folder; files of torch before 2.9 have to be saved again"
            )
        if member.filename in seen:
            raise ValueError(f"{file} has the member {member.filename!r} twice")
        if member.compress_type != zipfile.ZIP_STORED:
            raise ValueError(
                f"{file}: its member {member.filename!r} is compressed, which torch.export.save does not do"
            )
        seen.add(member.filename)
        if not member.is_dir():
            yield member.filename, "/".join(parts[1:])


def _pickles(inside: str, raw: bytes, where: str) -> set[str]:
    """The members that a table of weights or constants calls pickled.

    Raises
    ------
    ValueError
        For objects other than tensors.
    """
    payloads = json.loads(raw)["config"].values()
    for payload in payloads:
        _refuse_unless(re.fullmatch(r"(weight|tensor)_\d+", str(payload["path_name"])), "the object", str(payload["path_name"]), where)  # fmt: skip
    folder = inside.rpartition("/")[0]
    return {f"{folder}/{p['path_name']}" for p in payloads if p["use_pickle"]}


def _refuse_code(raw: bytes, where: str) -> None:
    """Refuse a pickle of anything but tensors and plain data."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, on pickles of a kind that it does not write
            torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch refuses
        raise ValueError(
            f"{where} is a pickle that could run code, and is not opened; export the model again with tensors as its sample "
            "inputs"
        ) from error


def _program(program: dict[str, Any], where: str) -> dict[str, Any]:
    """The program with positions of source lines as its only metadata.

    Raises
    ------
    ValueError
        For ops, expressions and names that torch would run as code.
    """
    return {key: _checked(key, value, where) for key, value in program.items()}


def _checked(key: str, value: Any, where: str) -> Any:
    if key == "metadata":
        kept = ("stack_trace", "nn_module_stack")
        return {k: v for k, v in value.items() if k in kept and isinstance(v, str)}
    if isinstance(value, dict):
        for name in value:
            _refuse_unless(NAME.fullmatch(name), "the name", name, where)
        return {k: _checked(k, v, where) for k, v in value.items()}
    if isinstance(value, list):
        return [_checked(key, v, where) for v in value]
    if isinstance(value, str):
        _check_text(key, value, where)
    return value


def _check_text(key: str, text: str, where: str) -> None:
    if key in ("target", "as_operator"):
        _refuse_unless(TARGET.fullmatch(text) and not FILES.match(text), "the op", text, where)
    elif key == "expr_str" or key == "guards_code":
        _refuse_unless(_is_expression(text), "the expression", text, where)
    elif key in ("in_spec", "out_spec"):
        if "transformers.modeling_outputs." in text:
            _know_outputs(where)
        _refuse_unless(not text or _is_tree(json.loads(text)), "the structure", text, where)
    elif key == "torch_version":
        _refuse_unless(re.fullmatch(r"[\w.+<=]*", text), "the version", text, where)
    elif key != "as_string":  # text arguments of ops are quoted by torch
        _refuse_unless(NAME.fullmatch(text), "the name", text, where)


def _refuse_unless(harmless: Any, what: str, text: str, where: str) -> None:
    if not harmless:
        raise ValueError(
            f"{where} has {what} {text[:80]!r}, which is not run; load the model in a function of your own instead, and pass "
            "package.module:factory, if you trust the file"
        )


def _is_expression(text: str) -> bool:
    """Whether torch may evaluate it: sizes, their arithmetic, and functions of sizes."""
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return len(text) < 10_000 and all(_is_harmless(node) for node in ast.walk(tree))


def _is_harmless(node: ast.AST) -> bool:
    if isinstance(node, ast.Name):
        return node.id in EXPRESSIONS or VARIABLE.fullmatch(node.id) is not None
    if isinstance(node, ast.Attribute):
        return node.attr in ATTRIBUTES
    if isinstance(node, ast.Constant):
        plain = type(node.value) in (int, float, bool, type(None))
        return plain or (isinstance(node.value, str) and re.fullmatch(r"[a-zA-Z]\w*|[-+.\de]+", node.value) is not None and "__" not in node.value)  # fmt: skip
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name | ast.Attribute)
    return isinstance(node, SYNTAX)


def _know_outputs(where: str) -> None:
    """Have transformers tell torch the structures of its models' outputs."""
    try:
        import transformers.modeling_outputs  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"{where} is a model of transformers, which is not installed: {install_hint('cells')}"
        ) from error


def _is_tree(tree: Any) -> bool:
    """Whether the structure of inputs or outputs is made of tuples, lists, mappings and outputs of transformers."""
    if isinstance(tree, list):
        return all(_is_tree(t) for t in tree)
    if isinstance(tree, dict):
        kind = tree.get("type")
        context = json.loads(tree.get("context") or "null")
        return (
            (kind is None or (isinstance(kind, str) and TREES.fullmatch(kind) is not None))
            and (context is None or (isinstance(context, list) and all(isinstance(c, str | int) and NAME.fullmatch(str(c)) for c in context)))
            and _is_tree(tree.get("children_spec", []))
        )  # fmt: skip
    return isinstance(tree, int)
