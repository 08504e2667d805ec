"""The user's own model: from the name of its code, or a file, and from a file of weights."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attrib._install import install_hint
from attrib.scale.exported import load_exported

PREFIXES = ("module.", "_orig_mod.", "model.")  # of weights whose model was wrapped in training
WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


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
