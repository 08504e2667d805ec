"""A trained network with the form of its images and the meaning of its output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from attrib._install import install_hint
from attrib.engine.model.function import one_tensor
from attrib.io import replacing, write_json
from attrib.scale.loading import WEIGHTS, check_device, fill, model_of, read_weights
from attrib.workflows.data import refuse_beside
from attrib.workflows.fcgr.network import TwoBranch
from attrib.workflows.fcgr.pairs import Images
from attrib.workflows.folder import fingerprint, read_mapping
from attrib.workflows.plan import Context

OUTPUTS = ("logit", "probability")


class Score(nn.Module):
    """A network of two inputs with one number as output: the log-odds of binding, or its probability.

    Parameters
    ----------
    network : callable
        Two images (N, 1, y, x), and what goes in beside them, to (N,), (N, 1) or (N, 2), the last one for "bound".
    output_kind : {"logit", "probability"}
        The network's output. Of two logits the difference is the log-odds.
    """

    def __init__(self, network: Any, output_kind: str = "logit") -> None:
        super().__init__()
        if output_kind not in OUTPUTS:
            raise ValueError(f"`output_kind` is {output_kind!r}, expected {' or '.join(OUTPUTS)}")
        self.network, self.output_kind = network, output_kind

    def forward(self, mirna: Tensor, mrna: Tensor, *beside: Any, **named: Any) -> Tensor:
        """Scores (N,)."""
        y = one_tensor(self.network(mirna, mrna, *beside, **named), len(mirna))
        if y.ndim > 2 or (y.ndim == 2 and y.shape[1] > 2):
            raise ValueError(
                f"the model gives {tuple(y.shape)} for {len(mirna)} pairs, expected one or two numbers each"
            )
        if y.ndim == 1:
            return y
        if y.shape[1] == 1:
            return y[:, 0]
        return y[:, 1] - y[:, 0] if self.output_kind == "logit" else y[:, 1]

    def probability(self, score: Tensor) -> Tensor:
        """The probability of a score."""
        return score.sigmoid() if self.output_kind == "logit" else score


class Predictor(NamedTuple):
    """A network with the form of its images.

    Attributes
    ----------
    model : Score
        In evaluation mode.
    images : Images
        The form of its input.
    source : str
        Where it comes from, with a fingerprint of its weights.
    context : Context
        What goes into the network beside the images.
    """

    model: Score
    images: Images
    source: str
    context: Context = Context()


def save_predictor(network: TwoBranch, settings: Mapping[str, Any], file: Path) -> tuple[Path, Path]:
    """Write the weights (.safetensors), and beside them the settings (.json); returns both paths."""
    try:
        from safetensors.torch import save
    except ImportError as error:
        raise ImportError(f"checkpoints need safetensors: {install_hint('train')}") from error
    with replacing(file) as temporary:
        temporary.write_bytes(save({k: v.contiguous() for k, v in network.state_dict().items()}))
    return file, write_json(settings, file.with_suffix(".json"))


def load_predictor(
    checkpoint: str | Path | None = None,
    *,
    model: str | Callable[..., Any] | None = None,
    weights: str | Path | None = None,
    k: int | None = None,
    dropout: float | None = None,
    scale: str | None = None,
    output_kind: str = "logit",
    device: str | None = None,
) -> Predictor:
    """A network of `attrib fcgr train`, or of your own.

    Parameters
    ----------
    checkpoint : path, optional
        `.safetensors` with its settings in a `.json` of the same name. Or a file that ``torch.load(weights_only=True)`` reads, with
        `model_state_dict`.
    model : str or callable, optional
        ``"package.module:factory"`` instead, see `attrib.scale.loading.load_model`; or the network itself.
    weights : path, optional
        Its state dict; settings in a `.json` of the same name are used.
    k, dropout, scale : optional
        If the checkpoint, or the settings beside the weights, hold them too, they must be equal.
    output_kind : {"logit", "probability"}, default "logit"
        The output of a network of your own.
    device : str, optional
        Where to put it; default: the CPU.

    Returns
    -------
    Predictor

    Raises
    ------
    FileNotFoundError, ValueError
        With the name of what does not fit.

    Examples
    --------
    The network of `attrib fcgr train`, with random weights:

    >>> from attrib.workflows.fcgr import load_predictor
    >>> predictor = load_predictor(model="attrib.workflows.fcgr.network:TwoBranch", k=6)
    >>> predictor.images.k, predictor.model.output_kind
    (6, 'logit')
    """
    check_device(device)
    if (model is None) == (checkpoint is None):
        raise ValueError(
            "pass either `checkpoint`, a file of attrib fcgr train, or `model`, package.module:factory"
        )
    form = {n: v for n, v in (("k", k), ("dropout", dropout), ("scale", scale)) if v is not None}
    if checkpoint is not None:
        refuse_beside("a checkpoint brings its own", weights=weights)
        return _ours(Path(checkpoint), form, device)
    assert model is not None
    if not isinstance(model, str):
        refuse_beside("`model` stays where it is", device=device)
    network = model_of(model, weights, device)
    code = model if isinstance(model, str) else type(model).__name__
    source = code if weights is None else f"{code} {fingerprint(Path(weights))}"
    beside = _beside(Path(weights)) if weights is not None else {}
    if "dropout" not in beside:
        refuse_beside("a network of your own brings its own", dropout=dropout)
    settings = _agreeing(beside, form)
    return Predictor(Score(network, output_kind).eval(), _images(settings), source)


def _ours(file: Path, form: Mapping[str, Any], device: str | None) -> Predictor:
    """A network of `attrib fcgr train`."""
    settings = _agreeing(_settings(file), form)
    arguments = ("k", "dropout", "channels", "depth", "corners", "leading")
    network = TwoBranch(**{n: settings[n] for n in arguments if n in settings})
    fill(network, read_weights(file), f"`checkpoint` {file}")
    placed = network.to(device) if device is not None else network
    return Predictor(Score(placed).eval(), _images(settings), f"{file.name} {fingerprint(file)}")


def _images(settings: Mapping[str, Any]) -> Images:
    return Images(**{n: settings[n] for n in Images._fields if n in settings})


def _beside(file: Path) -> dict[str, Any]:
    """The settings beside a checkpoint, if they are there."""
    beside = file.with_suffix(".json")
    return read_mapping(beside, "checkpoint") if beside.is_file() else {}


def _settings(file: Path) -> dict[str, Any]:
    """The settings of a checkpoint: from the file beside it, from its content, or from the shapes of its weights."""
    if not file.is_file():
        raise FileNotFoundError(f"`checkpoint`: there is no file {file}")
    if file.suffix not in WEIGHTS:
        raise ValueError(f"`checkpoint` is {file}, expected one of {', '.join(WEIGHTS)}")
    settings = _beside(file)
    if settings:
        return settings
    if file.suffix == ".safetensors":
        raise FileNotFoundError(
            f"`checkpoint`: {file.with_suffix('.json')} with the settings is missing; it belongs beside {file.name}"
        )
    inside = torch.load(file, map_location="cpu", weights_only=True) if _is_readable(file) else {}
    saved = inside.get("settings") if isinstance(inside, dict) else None
    return dict(saved) if isinstance(saved, dict) else _by_shapes(read_weights(file), file)


def _is_readable(file: Path) -> bool:
    """Whether it is data without code; otherwise `read_weights` raises an error with the reason."""
    read_weights(file)
    return True


def _by_shapes(weights: Mapping[str, Tensor], file: Path) -> dict[str, Any]:
    if not {"rows", "head.weight"} <= set(weights):
        raise ValueError(
            f"`checkpoint`: {file} is no network of attrib fcgr train (it has {', '.join(list(weights)[:4])}, ...); name "
            "the code that makes yours as `model`, such as package.module:factory"
        )
    blocks = {n.split(".")[1] for n in weights if n.startswith("mirna.") and ".paths." in n}
    return {"k": len(weights["rows"]).bit_length() - 1, "channels": weights["head.weight"].shape[1] // 3, "depth": len(blocks)}  # fmt: skip


def _agreeing(settings: dict[str, Any], form: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in form.items():
        if name in settings and settings[name] != value:
            raise ValueError(
                f"`{name}` is {value}, but the checkpoint was trained with {name} {settings[name]}; leave `{name}` out"
            )
    return {**form, **settings}
