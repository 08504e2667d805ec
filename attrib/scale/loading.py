"""The user's own model: from the name of its code or a file, with a file of weights, or as exported by `torch.export`.

torch.export.load runs what a file says in several places: sample inputs and weights are unpickled, sizes and guards are
evaluated as Python, and names go into generated source. So an archive is written anew in memory, of members that hold numbers,
plain names and ops of ATen only. Everything else is refused.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import json
import re
import sys
import warnings
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.pt2_archive._package import load_pt2  # torch.export.load logs its errors and raises another

from attrib._install import install_hint

PREFIXES = ("module.", "_orig_mod.", "model.")  # of weights whose model was wrapped in training
WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")

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


def load_model(
    model: str,
    weights: str | Path | None = None,
    device: str | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """The model that a name or a file stands for, ready to be explained.

    Parameters
    ----------
    model : str
        `"package.module:factory"`, a function or class without required arguments that returns the model, or a
        `torch.nn.Module`; looked for in the current folder too. Or `"FILE.pt2"`, written by `torch.export.save`.
    weights : str or path, optional
        A state dict: `.safetensors`, or a file that ``torch.load(weights_only=True)`` reads.
    device : str, optional
        Where to put it; default: where it is built.
    parameters : mapping, optional
        Arguments of the factory by name. What it does not take is left out, so that the record of a whole training fits; a
        factory of one argument without default whose name is not among them gets the mapping itself.

    Returns
    -------
    callable
        In evaluation mode.

    Raises
    ------
    ValueError, FileNotFoundError
        For names that do not exist and weights that do not fit, in one line.
    """
    check_device(device)
    if model.endswith(".pt2"):
        if parameters is not None:
            raise ValueError(
                f"`parameters` are for a function that builds the model, but {model} is built; leave them out"
            )
        loaded = _exported(Path(model), weights)
    else:
        loaded = _with_weights(model, weights, parameters)
    return loaded.to(device) if isinstance(loaded, nn.Module) and device is not None else loaded


def model_of(
    model: str | Callable[..., Any],
    weights: str | Path | None = None,
    device: str | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """The same for a name or a file; a model that is there already is taken as it is.

    Raises
    ------
    ValueError
        For weights beside a model that is there already, and as `load_model`.
    """
    if isinstance(model, str):
        return load_model(model, weights, device, parameters)
    if weights is not None:
        raise ValueError(
            "`weights`: `model` is there already; leave them out, or name the code that makes it"
        )
    return model


def check_device(device: str | None) -> None:
    """Refuse a device that this machine lacks.

    Raises
    ------
    ValueError
        With torch's reason.
    """
    try:
        torch.zeros(1, device=device).tolist()  # "meta" holds no numbers
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = first_line(error).partition(": ")[2]
        raise ValueError(f"`device` is {device!r}, which cannot be used here ({reason}); try cpu") from error


def _with_weights(spec: str, weights: str | Path | None, parameters: Mapping[str, Any] | None) -> Any:
    if spec.endswith(WEIGHTS):
        raise ValueError(
            f"`model` is {spec}, which holds weights; pass it as `weights`, and the code that makes the model as "
            "`model`, such as package.module:factory"
        )
    model = _from_factory(spec, parameters)
    if weights is not None:
        fill(model, read_weights(Path(weights)), str(weights))
    return model.eval() if isinstance(model, nn.Module) else model


def _exported(file: Path, weights: str | Path | None) -> Any:
    if weights is not None:
        raise ValueError(f"`weights` is {weights}, but {file} has its weights inside; leave `weights` out")
    if not file.is_file():
        raise FileNotFoundError(f"there is no model file {file}")
    return load_exported(file)


def _from_factory(spec: str, parameters: Mapping[str, Any] | None) -> Any:
    """The model that `package.module:factory` returns."""
    module_name, colon, name = spec.partition(":")
    is_file = module_name.endswith(".py")
    if is_file or not (colon and module_name and name):
        dotted = module_name.removesuffix(".py").strip("./").replace("/", ".")
        hint = f"; pass {dotted}:{name or 'FACTORY'}" if is_file else ""
        raise ValueError(f"`model` is {spec!r}, expected package.module:factory or FILE.pt2{hint}")
    factory = _attribute(_module(module_name), module_name, name)
    if isinstance(factory, nn.Module):
        return factory
    if not callable(factory):
        raise ValueError(f"{spec} is a {type(factory).__name__}, expected a function that returns the model")
    positional, named = _arguments(factory, parameters)
    required = [] if positional else [r for r in _required(factory) if r not in named]
    if required:
        raise ValueError(
            f"{spec} needs the arguments {', '.join(required)}; "
            + (
                "`parameters` lacks them"
                if parameters is not None
                else "name a function without required arguments that returns the model"
            )
        )
    try:
        model = factory(*positional, **named)
    except Exception as error:  # the user's code
        raise ValueError(f"{spec}() raised {first_line(error)}") from error
    if not callable(model):
        raise ValueError(f"{spec}() returned a {type(model).__name__}, expected a model that can be called")
    return model


def _module(name: str) -> Any:
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does: the user's code lies where the command is run
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"`model`: cannot import {name} ({error}); run the command in the folder that holds it, or install it"
        ) from error
    except Exception as error:  # the user's code
        raise ValueError(f"`model`: importing {name} raised {first_line(error)}") from error


def _attribute(module: Any, module_name: str, name: str) -> Any:
    value = module
    for part in name.split("."):
        if not hasattr(value, part):
            callables = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
            raise ValueError(
                f"`model`: {module_name} has no {name!r}; it has {', '.join(callables[:8]) or 'no functions'}"
            )
        value = getattr(value, part)
    return value


def _required(factory: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # built in, without a signature
        return []
    fixed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in fixed]


def _arguments(
    factory: Callable[..., Any], parameters: Mapping[str, Any] | None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What of `parameters` the factory takes: by name, or all as its one argument."""
    if parameters is None:
        return (), {}
    required = _required(factory)
    if len(required) == 1 and required[0] not in parameters:
        return (dict(parameters),), {}
    signature = inspect.signature(factory).parameters
    if any(p.kind is p.VAR_KEYWORD for p in signature.values()):
        return (), dict(parameters)
    return (), {k: v for k, v in parameters.items() if k in signature}


def read_weights(file: Path) -> dict[str, Tensor]:
    """A state dict from a file; no code in it is run.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file does not exist, or holds anything but tensors by name.
    """
    if not file.is_file():
        raise FileNotFoundError(f"there is no weights file {file}")
    try:
        weights = _safetensors(file) if file.suffix == ".safetensors" else _pickled_tensors(file)
    except ImportError as error:
        raise ValueError(f"{file.name} needs the package safetensors: {install_hint('weights')}") from error
    except Exception as error:  # whatever a file that is no state dict does to the reader
        code = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it holds a pickled {code[1]}, whose code is not run" if code else first_line(error)
        reason = reason.partition(" In PyTorch 2.6")[0]  # torch's advice to load it with code and all
        raise ValueError(
            f"{file} cannot be read as weights only ({reason}); write it with "
            "torch.save(model.state_dict(), FILE) or safetensors.torch.save_model(model, FILE)"
        ) from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(weights, Mapping) and isinstance(weights.get(key), Mapping):
            weights = weights[key]
    if not isinstance(weights, Mapping) or not all(isinstance(v, Tensor) for v in weights.values()):
        raise ValueError(
            f"{file} holds a {type(weights).__name__}, expected tensors by name: torch.save(model.state_dict(), FILE)"
        )
    return dict(weights)


def _safetensors(file: Path) -> Any:
    from safetensors.torch import load_file

    return load_file(file)


def _pickled_tensors(file: Path) -> Any:
    return torch.load(file, map_location="cpu", weights_only=True)


def fill(model: Any, weights: Mapping[str, Tensor], where: str) -> None:
    """Put the weights into the model.

    Raises
    ------
    ValueError
        With the names of entries that are missing, unknown, or of another shape.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"`weights` is {where}, but `model` gives a {type(model).__name__} without parameters"
        )
    parameters = model.state_dict()
    weights = without_prefixes(weights, parameters)
    wrong = [f"{k} is {tuple(weights[k].shape)}, the model's {tuple(parameters[k].shape)}"
             for k in parameters if k in weights and weights[k].shape != parameters[k].shape]  # fmt: skip
    missing, extra = [k for k in parameters if k not in weights], [k for k in weights if k not in parameters]
    misfits = [
        f"{len(names)} {what}: {', '.join(names[:3])}{', ...' * (len(names) > 3)}"
        for what, names in (("missing", missing), ("not in the model", extra), ("of another shape", wrong))
        if names
    ]
    if misfits:
        raise ValueError(f"{where} does not fit the model ({'; '.join(misfits)})")
    model.load_state_dict(dict(weights))


def without_prefixes(weights: Mapping[str, Tensor], names: Collection[str]) -> Mapping[str, Tensor]:
    """The weights by the names of the model, where training wrapped it: DataParallel, torch.compile or Lightning.

    Parameters
    ----------
    weights : mapping
        A state dict.
    names : collection of str
        The model's own names.

    Returns
    -------
    mapping
        With the prefixes ``module.``, ``model.`` and ``_orig_mod.`` taken off if more names fit that way.
    """
    best, fits = weights, sum(k in names for k in weights)
    stripped = dict(weights)
    while prefix := next((p for p in PREFIXES if stripped and all(k.startswith(p) for k in stripped)), None):
        stripped = {k.removeprefix(prefix): v for k, v in stripped.items()}
        if sum(k in names for k in stripped) > fits:
            best, fits = stripped, sum(k in names for k in stripped)
    return best


def first_line(error: BaseException) -> str:
    """An error as one line: its type and the first nonempty line of its message."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # torch makes some of its words bold
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


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
