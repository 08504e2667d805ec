"""Networks of `transformers`, built small from their configs: a padded sentence and an image in a batch are as they are alone."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attrib.functional import deep_lift, grad_cam, integrated_gradients, predict, saliency
from tests.cases import agree

transformers = pytest.importorskip("transformers")

COMMON = {"vocab_size": 50, "num_labels": 3, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
ENCODER = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 32,
}  # fmt: skip
PICTURE = {"image_size": 32, "num_labels": 3}
VIT = {k: v for k, v in ENCODER.items() if k != "max_position_embeddings"} | {"patch_size": 8}
TEXT: dict[str, dict[str, Any]] = {
    "Bert": ENCODER,
    "Roberta": ENCODER,
    "DistilBert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 32},
    "Electra": {**ENCODER, "embedding_size": 16},
    "Albert": {**ENCODER, "embedding_size": 8},
    "DebertaV2": ENCODER,
    "MPNet": ENCODER,
    "Esm": ENCODER,
    "GPT2": {"n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2},
    "GPTNeoX": ENCODER,
    "OPT": {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 32,
        "max_position_embeddings": 32, "word_embed_proj_dim": 16,
    },
    "Llama": {**ENCODER, "num_key_value_heads": 1},
    "Mistral": {**ENCODER, "num_key_value_heads": 1},
    "Qwen2": {**ENCODER, "num_key_value_heads": 1},
}  # fmt: skip
IMAGES: dict[str, dict[str, Any]] = {
    "ViT": VIT,
    "DeiT": VIT,
    "Dinov2": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 8},
    "Swin": {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 2},
    "ConvNextV2": {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1]},
    "ResNet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
    "RegNet": {
        "embedding_size": 8, "hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1], "groups_width": 4,
    },
    "Segformer": {
        "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2],
    },
}  # fmt: skip
LENGTHS = (7, 5, 2)


def built(name: str, task: str, config: dict[str, Any]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, f"{name}For{task}Classification")(
            getattr(transformers, f"{name}Config")(**config)
        )
        for p in model.parameters():  # away from zeros, so that everything has a say
            p.data += 0.1 * torch.randn_like(p)
    return model.double().eval()


def embedding(model: nn.Module) -> str:
    return next(name for name, part in model.named_modules() if part is model.get_input_embeddings())


METHODS: list[Callable[..., Tensor]] = [
    partial(saliency, absolute=False),
    partial(integrated_gradients, n_steps=4, baselines=0),
    partial(deep_lift, baselines=0),
]


@pytest.mark.parametrize("name", TEXT)
def test_a_padded_sentence_has_the_attribution_that_it_has_alone(name: str) -> None:
    model = built(name, "Sequence", {**COMMON, **TEXT[name]})
    ids = torch.randint(3, 50, (3, 7), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(7) < torch.tensor(LENGTHS)[:, None]).long()
    ids = torch.where(mask == 1, ids, model.config.pad_token_id)
    layer = embedding(model)
    for method in METHODS:
        together = method(model, ids, target=1, layer=layer, additional_forward_args={"attention_mask": mask})
        assert together.shape == (3, 7, model.get_input_embeddings().embedding_dim)
        assert float(together[0].abs().max()) > 0
        for i, k in enumerate(LENGTHS):
            alone = method(
                model, ids[i : i + 1, :k], target=1, layer=layer,
                additional_forward_args={"attention_mask": mask[i : i + 1, :k]},
            )  # fmt: skip
            agree(together[i, :k], alone[0], 1e-9)
            assert float(together[i, k:].abs().sum()) == 0


def test_deep_lift_of_tokens_adds_up() -> None:
    model = built("Bert", "Sequence", {**COMMON, **TEXT["Bert"]})
    ids = torch.randint(3, 50, (2, 6), generator=torch.Generator().manual_seed(1))
    found = deep_lift.explain(model, ids, target=1, layer=embedding(model), baselines=0)
    change = predict(model, ids)[:, 1] - predict(model, torch.zeros_like(ids))[:, 1]
    agree(found.attribution.sum((1, 2)), change, 1e-9)


@pytest.mark.parametrize("name", IMAGES)
def test_images(name: str) -> None:
    small = {} if name in ("ResNet", "RegNet") else PICTURE
    model = built(name, "Image", {**small, "num_labels": 3, **IMAGES[name]})
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    leaf = x.clone().requires_grad_()
    model(leaf).logits[:, 1].sum().backward()
    assert leaf.grad is not None
    agree(saliency(model, x, target=1, absolute=False), leaf.grad, 1e-9)
    for method in (partial(integrated_gradients, n_steps=4), deep_lift):
        together = method(model, x, target=1)
        agree(together[1:], method(model, x[1:], target=1), 1e-9)
    # the first sample chooses the layer
    agree(grad_cam(model, x, target=1), grad_cam(model, x[[0, 1, 1]], target=1)[:2], 1e-9)
    delta = deep_lift.explain(model, x, target=1).delta
    assert delta is not None
    change = (model(x).logits - model(0 * x).logits)[:, 1].detach()
    assert float(delta.abs().max()) < 1e-8 * float(change.abs().max())
