"""The families of `benchmarks.zoo`: how each is built small, without downloads."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from attrib import from_jax

CLASSES = 5
SAMPLES = 2
STAND_IN = torch.library.Library("torchvision", "FRAGMENT")


class Family(NamedTuple):
    """A family of models.

    Attributes
    ----------
    package, name : str
        Where it comes from, and what it is called.
    build : callable
        No arguments to the model and samples (SAMPLES, ...).
    larger : callable, optional
        The same for inputs of so many times the sides, where a network takes one size only.
    """

    package: str
    name: str
    build: Callable[[], tuple[Any, Tensor]]
    larger: Callable[[int], tuple[Any, Tensor]] | None = None


def torchvision_without_ops() -> None:
    """Let timm and transformers import where torchvision was built for another torch: none of its ops is needed."""
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError:
        return
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in ("nms", "qnms"):
            STAND_IN.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def images(size: int = 96, channels: int = 3) -> Tensor:
    return torch.randn(SAMPLES, channels, size, size, generator=torch.Generator().manual_seed(1))


# ------------------------------------------------------------------ timm

TIMM = (
    "beit_base_patch16_224", "cait_xs24_384", "coat_tiny", "coatnet_nano_cc_224", "convit_tiny",
    "convmixer_768_32", "convnext_atto_rms", "cpubone_nano", "crossvit_tiny_240", "cs3darknet_focus_s",
    "csatv2", "cspnext_tiny", "davit_tiny", "deit_tiny_patch16_224", "densenet121", "dla46x_c", "dpn48b",
    "edgenext_xx_small", "efficientformer_l1", "efficientformerv2_s0", "efficientvim_m1", "efficientvit_b0",
    "efficientvit_m0", "ese_vovnet19b_slim", "fasternet_t0", "fastvit_t8", "focalnet_tiny_srf",
    "gcvit_xxtiny", "ghostnet_050", "gmixer_12_224", "gmlp_ti16_224", "halonet_h1", "hardcorenas_b",
    "hgnetv2_b0", "hiera_tiny_224", "hrnet_w18_small", "iformer_t", "inception_next_atto",
    "inception_resnet_v2", "inception_v3", "inception_v4", "lcnetv2_small", "legacy_seresnet18",
    "legacy_xception", "levit_128s", "lowformer_b0", "mixer_s16_224", "mnasnet_small",
    "mobilenetv3_small_050", "mobilenetv5_base", "mobileone_s1", "mobilevit_xxs", "mvitv2_tiny",
    "naflexvit_base_patch16_gap", "nasnetalarge", "nest_tiny", "nest_tiny_jx", "nextvit_small", "nf_resnet26",
    "pit_ti_224", "pnasnet5large", "poolformerv2_s12", "pvt_v2_b0", "rdnet_tiny", "regnetx_002",
    "regnety_002", "repghostnet_050", "repvit_m0_9", "res2net50_26w_4s", "resmlp_12_224", "resnest14d",
    "resnet10t", "resnet18", "resnetv2_18", "resnetv2_50x1_bit", "rexnet_100", "sam2_hiera_tiny",
    "samvit_base_patch16_224", "selecsls42", "sequencer2d_s", "shvit_s1", "skresnet18", "starnet_s050",
    "swiftformer_xs", "swin_tiny_patch4_window7_224", "swinv2_cr_tiny_ns_224", "swinv2_tiny_window8_256",
    "test_byobnet", "test_convnext", "test_efficientnet", "test_mambaout", "test_nfnet", "test_resnet",
    "test_vit", "test_vit2", "tiny_vit_5m_224", "tnt_s_legacy_patch16_224", "tresnet_m", "twins_svt_small",
    "vgg11", "visformer_tiny", "vit_relpos_small_patch16_224", "vit_small_patch14_reg4_dinov2",
    "vit_tiny_patch16_224", "vit_tiny_patch16_dinov3_qkvb", "vit_tiny_r_s16_p8_224", "vitamin_small_224",
    "volo_d1_224", "xception41", "xcit_nano_12_p16_224",
)  # fmt: skip


SMALLER: dict[str, dict[str, Any]] = {  # of families whose least model is large
    "beit_base_patch16_224": {"embed_dim": 96, "depth": 3, "num_heads": 4},
    "mobilenetv5_base": {"channel_multiplier": 0.25},
    "naflexvit_base_patch16_gap": {"embed_dim": 96, "depth": 3, "num_heads": 4},
    "nasnetalarge": {"num_features": 192, "stem_size": 16},
    "samvit_base_patch16_224": {"embed_dim": 96, "depth": 3, "num_heads": 4, "global_attn_indexes": (2,)},
    "sequencer2d_s": {"layers": (1, 1, 2, 1)},
    "vitamin_small_224": {"depth": 3},
    "xcit_nano_12_p16_224": {"depth": 3},
}


def timm_model(name: str, sides: int = 1) -> tuple[nn.Module, Tensor]:
    """A model of timm for images of 96 x 96 if it takes them, else of 128 x 128, else of its own size; or of so many times the sides."""
    import timm

    for size in (96, 128, None) if sides == 1 else (96 * sides, 128 * sides):
        smaller = SMALLER.get(name, {})
        for options in ({"img_size": size, **smaller}, smaller) if size else (smaller,):
            try:
                torch.manual_seed(0)
                if name == "halonet_h1":
                    whole = timm.models.byoanet.model_cfgs[name]
                    blocks = tuple(
                        replace(b, d=1, c=c) for b, c in zip(whole.blocks, (16, 24, 32), strict=False)
                    )
                    model = timm.models.byobnet.ByobNet(
                        replace(whole, blocks=blocks, stem_chs=16), CLASSES
                    ).eval()
                elif name == "convmixer_768_32":  # whose sizes are fixed
                    model = timm.models.convmixer.ConvMixer(
                        64, 4, 7, 7, num_classes=CLASSES, act_layer=nn.ReLU
                    ).eval()
                elif (
                    name == "resmlp_12_224"
                ):  # of twelve blocks with random weights the last see everything alike
                    mixer = timm.models.mlp_mixer
                    model = mixer.MlpMixer(
                        CLASSES,
                        size or 224,
                        num_blocks=3,
                        embed_dim=96,
                        mlp_ratio=4,
                        block_layer=mixer.ResBlock,
                        norm_layer=mixer.Affine,
                    ).eval()
                else:
                    model = timm.create_model(name, num_classes=CLASSES, **options).eval()
                x = images(size or model.default_cfg["input_size"][-1])
                with torch.no_grad():
                    model(x[:1])
                return model, x
            except Exception:
                if size is None:
                    raise
    raise ValueError(f"{name} takes no images of {sides} times the sides")


# ------------------------------------------------------------------ transformers

SMALL: dict[str, Any] = {
    "hidden_size": 32, "d_model": 32, "n_embd": 32, "embed_dim": 32, "dim": 32, "embedding_size": 32, "emb_dim": 32,
    "num_hidden_layers": 2, "num_layers": 2, "n_layer": 2, "n_layers": 2, "encoder_layers": 2, "decoder_layers": 2,
    "num_encoder_layers": 2, "num_decoder_layers": 2, "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "d_kv": 8,
    "intermediate_size": 64, "ffn_dim": 64, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "d_ff": 64, "n_inner": 64,
    "dff": 64, "hidden_dim": 64, "d_inner": 64, "vocab_size": 99, "max_position_embeddings": 64, "pad_token_id": 0,
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "moe_intermediate_size": 32, "image_size": 64,
    "patch_size": 8, "num_labels": CLASSES, "num_channels": 3, "rotary_dim": 4, "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4, "decoder_hidden_size": 32, "num_mel_bins": 16, "num_experts_per_tok": 2,
    "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8, "kv_lora_rank": 16, "q_lora_rank": 16, "pooler_hidden_size": 32,
    "entity_vocab_size": 9, "d_latents": 32, "num_latents": 8, "num_self_attends_per_block": 2,
}  # fmt: skip


FITTED: dict[str, dict[str, Any]] = {  # of configurations whose sizes follow from each other: how they are made
    "zamba": {"hidden_size": 32, "num_hidden_layers": 5, "num_attention_heads": 4, "num_key_value_heads": 4,
        "intermediate_size": 64, "vocab_size": 99, "use_mamba_kernels": False,
        "layers_block_type": ["linear_attention", "linear_attention", "hybrid", "linear_attention", "hybrid"]},
    "zamba2": {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 4,
        "intermediate_size": 64, "vocab_size": 99, "use_mamba_kernels": False, "mamba_d_state": 16, "adapter_rank": 8,
        "layers_block_type": ["linear_attention", "linear_attention", "hybrid"]},
    "mistral4": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 4, "kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8, "v_head_dim": 8,
        "qk_nope_head_dim": 8, "n_routed_experts": 4, "moe_intermediate_size": 32, "num_experts_per_tok": 2, "n_group": 1,
        "topk_group": 1, "first_k_dense_replace": 1, "vocab_size": 99, "pad_token_id": 0},
    "vjepa2": {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "num_pooler_layers": 1, "patch_size": 16,
        "crop_size": 64, "frames_per_clip": 8, "pred_hidden_size": 24, "pred_num_attention_heads": 4,
        "pred_num_hidden_layers": 1},
}  # fmt: skip
CHANGED: dict[str, dict[str, Any]] = {  # after `SMALL`
    "esmc": {"num_key_value_heads": 4},
    "lilt": {"hidden_size": 48},
    "mobilevit": {"initializer_range": 0.2},  # with less the signal dies on its way
    "t5_gemma_module": {"cross_attention_hidden_size": 32},
    "layoutlmv3": {"coordinate_size": 5, "shape_size": 6},
    "reformer": {"axial_pos_shape": (4, 4), "axial_pos_embds_dim": (16, 16), "hidden_dropout_prob": 0.0, "lsh_attention_probs_dropout_prob": 0.0, "local_attention_probs_dropout_prob": 0.0},
    "longformer": {"attention_window": [8, 8]},
    "qwen3_5_text": {"layer_types": ["linear_attention", "full_attention"]},
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}}},
}  # fmt: skip


KINDS = {f"{kind}Classification": kind.upper() for kind in ("Image", "Sequence", "Audio", "Video")}


def small_config(config: Any) -> Any:
    """A configuration with a few layers of a few channels, as far as it has sizes that are known."""
    for name, value in SMALL.items():
        current = getattr(config, name, None)
        if isinstance(current, int) and not isinstance(current, bool):
            try:
                setattr(config, name, value)
            except Exception:
                continue
        elif isinstance(current, list | tuple) and name == "image_size":
            setattr(config, name, [64, 64])
    if hasattr(config, "qk_rope_head_dim"):  # latent attention: no groups of heads
        config.num_key_value_heads = config.num_attention_heads
    for name in ("pad_token_id", "head_dim", "num_key_value_heads", "vocab_size", "num_experts_per_tok"):
        if getattr(config, name, 0) is None:
            setattr(config, name, SMALL[name])
    if config.is_encoder_decoder and getattr(config, "decoder_start_token_id", None) is None:
        config.decoder_start_token_id = 0
    for name in ("n_group", "topk_group"):
        if hasattr(config, name):
            setattr(config, name, 1)
    if hasattr(config, "default_language"):
        config.default_language = config.languages[0]
    if config.model_type == "efficientnet":  # the second and the last stage alone
        config.width_coefficient, config.depth_coefficient, config.hidden_dim = 0.25, 0.1, 320
        config.initializer_range = 0.3  # with less the signal dies on its way: variances below the norms' eps
    if config.model_type in ("convnext", "convnextv2"):
        config.num_stages, config.hidden_sizes, config.depths = 4, [8, 16, 24, 32], [1, 1, 2, 1]
    for name, value in CHANGED.get(config.model_type, {}).items():
        if hasattr(config, name):
            setattr(config, name, value)
    for nested in ("text_config", "vision_config", "encoder", "decoder"):
        if hasattr(getattr(config, nested, None), "to_dict"):
            small_config(getattr(config, nested))
    return config


class Double(TorchFunctionMode):
    """Casts to single precision become casts to double."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        double = lambda v: torch.float64 if v is torch.float32 else v
        if func is Tensor.float:
            return args[0].double()
        return func(*map(double, args), **{k: double(v) for k, v in (kwargs or {}).items()})


class InDouble(nn.Module):
    """A model that multiplies what it has cast to single precision by its weights, whatever their precision."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        with Double():
            return self.model(x)


class InTraining(nn.Module):
    """A model without dropout that stays in training mode: Reformer's own backward pass asks for it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def train(self, mode: bool = True) -> InTraining:
        return super().train(True)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class OfEmbeddings(nn.Module):
    """A model of tokens as a function of embeddings (N, L, C)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(inputs_embeds=x, attention_mask=torch.ones(x.shape[:2], dtype=torch.long)).logits


class Embedded(nn.Module):
    """A model of embeddings (N, L, C) without a mask."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(inputs_embeds=x).logits


def model_embeddings(model: nn.Module) -> Any:
    """The table of the tokens, that of the encoder if there is one; None where there is none."""
    ends = ("encoder.embed_tokens", "input_preprocessor.embeddings")
    parts = model.named_modules(remove_duplicate=False)
    try:
        return (
            next((part for name, part in parts if name.endswith(ends)), None) or model.get_input_embeddings()
        )
    except NotImplementedError:
        return None


class OfTokens(nn.Module):
    """A model that takes no embeddings (N, L, C): here they stand in for what its table gives, that of the encoder if there is one."""

    def __init__(self, model: nn.Module, end: int) -> None:
        super().__init__()
        self.model, self.end = model, end

    def forward(self, x: Tensor) -> Tensor:
        table = model_embeddings(self.model)
        calls: list[Tensor] = []

        def first(module: nn.Module, args: object, output: Tensor) -> Tensor:
            calls.append(output)
            return x if len(calls) == 1 else output  # the second call is the decoder's

        handle = table.register_forward_hook(first)
        try:
            tokens = torch.full(x.shape[:2], 5).index_fill(1, torch.tensor(x.shape[1] - 1), self.end)
            return self.model(tokens, attention_mask=torch.ones_like(tokens)).logits
        finally:
            handle.remove()


class Named(nn.Module):
    """A model whose input has a name."""

    def __init__(self, model: nn.Module, name: str) -> None:
        super().__init__()
        self.model, self.name = model, name

    def forward(self, x: Tensor) -> Tensor:
        output = self.model(**{self.name: x})
        return output.logits if hasattr(output, "logits") else output.last_hidden_state  # of PP-LCNet


class Patches(nn.Module):
    """SigLIP 2 as a function of patches (N, 8 x 8, 3 x 8 x 8), which its processor makes of an image."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.ones(x.shape[:2], dtype=torch.long)
        return self.model(x, pixel_attention_mask=mask, spatial_shapes=torch.full((len(x), 2), 8)).logits


def transformers_model(kind: str, name: str) -> tuple[nn.Module, Tensor]:
    """A model of transformers for images, token embeddings, sounds or films."""
    import transformers

    made = transformers.CONFIG_MAPPING[name]
    config = made()
    mapping = getattr(
        transformers.models.auto.modeling_auto, f"MODEL_FOR_{KINDS[kind]}_CLASSIFICATION_MAPPING_NAMES"
    )
    classes = mapping[name] if isinstance(mapping[name], str) else mapping[name][0]
    auto = getattr(transformers, f"AutoModelFor{kind}")
    # the smallest that can be built: sizes that do not fit each other are left as they are
    small = made(**FITTED[name]) if name in FITTED else small_config(made())
    for configuration in (small, config):
        configuration.num_labels, configuration.architectures = CLASSES, [classes]
        configuration.use_cache, configuration._experts_implementation = False, "batched_mm"
        for attention in ("eager", None):
            try:
                options = {} if attention is None else {"attn_implementation": attention}
                with torch.device("meta"):  # which holds no numbers: some are of 10^11 parameters
                    size = sum(p.numel() for p in auto.from_config(configuration, **options).parameters())
                if size > 40_000_000:
                    raise ValueError("no small configuration is known")
                torch.manual_seed(0)
                model = auto.from_config(configuration, **options).eval()
                wrapped, x = _with_input(kind, model, configuration)
                with torch.no_grad():
                    wrapped(x)
                special = {"mra": InDouble, "canine": InDouble, "reformer": InTraining}
                return special[name](wrapped) if name in special else wrapped, x
            except Exception as error:
                first = error if configuration is not config and attention == "eager" else first  # noqa: F821
    raise first


def _with_input(kind: str, model: nn.Module, config: Any) -> tuple[nn.Module, Tensor]:
    generator = torch.Generator().manual_seed(1)
    if kind == "ImageClassification":
        size = getattr(config, "image_size", 64)
        size = size if isinstance(size, int) else size[0] if size else 64
        if config.model_type == "imagegpt":  # colours as tokens, row by row
            return Embedded(model), torch.randn(SAMPLES, 64, config.n_embd, generator=generator)
        if config.model_type == "siglip2":
            return Patches(model), torch.randn(SAMPLES, 64, 3 * 8**2, generator=generator)
        return Named(model, "pixel_values"), images(size, getattr(config, "num_channels", 3))
    if kind == "SequenceClassification":
        table = model_embeddings(model)
        size = table.weight.shape[1] if hasattr(table, "weight") else config.hidden_size
        x = torch.randn(SAMPLES, 16, size, generator=generator)
        try:
            with torch.no_grad():
                OfEmbeddings(model)(x)
            return OfEmbeddings(model), x
        except Exception:
            return OfTokens(model, getattr(config, "eos_token_id", None) or 0), x
    if kind == "AudioClassification":
        if hasattr(config, "num_mel_bins") and hasattr(config, "max_source_positions"):
            return Named(model, "input_features"), torch.randn(
                SAMPLES, config.num_mel_bins, 2 * config.max_source_positions, generator=generator
            )
        if hasattr(config, "feature_projection_input_dim"):
            return Named(model, "input_features"), torch.randn(
                SAMPLES, 40, config.feature_projection_input_dim, generator=generator
            )
        if hasattr(config, "frequency_stride"):
            return Named(model, "input_values"), torch.randn(
                SAMPLES, config.max_length, config.num_mel_bins, generator=generator
            )
        return Named(model, "input_values"), torch.randn(SAMPLES, 4000, generator=generator)
    frames = getattr(config, "num_frames", getattr(config, "frames_per_clip", 8))
    name = next(n for n in inspect.signature(model.forward).parameters if n.startswith("pixel_values"))
    return Named(model, name), torch.randn(SAMPLES, frames, 3, 64, 64, generator=generator)


TRANSFORMERS = {
    "ImageClassification": (
        "beit", "bit", "clip", "convnext", "convnextv2", "cvt", "data2vec-vision", "deit", "dinat", "dinov2",
        "dinov2_with_registers", "donut-swin", "efficientnet", "focalnet", "hgnet_v2", "hiera", "ijepa",
        "imagegpt", "levit", "metaclip_2", "mobilenet_v1", "mobilenet_v2", "mobilevit", "mobilevitv2",
        "perceiver", "poolformer", "pp_lcnet", "pvt", "pvt_v2", "regnet", "resnet", "segformer", "siglip",
        "siglip2", "swiftformer", "swin", "swinv2", "textnet", "vit", "vit_msn",
    ),
    "SequenceClassification": (
        "albert", "arcee", "axk1", "axk2", "bart", "bert", "big_bird", "bigbird_pegasus", "biogpt", "bloom",
        "camembert", "canine", "cohere_compass_text", "convbert", "ctrl", "data2vec-text", "deberta",
        "deberta-v2", "deepseek_v2", "deepseek_v3", "diffllama", "distilbert", "doge", "electra", "ernie",
        "esm", "esmc", "eurobert", "exaone4", "falcon", "flaubert", "fnet", "funnel", "gemma", "gemma2",
        "gemma3", "gemma3_text", "glm", "glm4", "gpt-sw3", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox",
        "gpt_oss", "gptj", "gte", "helium", "hunyuan_v1_dense", "hunyuan_v1_moe", "ibert", "jamba", "jetmoe",
        "jina_embeddings_v3", "layoutlm", "layoutlmv2", "layoutlmv3", "lilt", "llama", "longformer", "luke",
        "markuplm", "mbart", "megatron-bert", "minicpm3", "minimax", "ministral", "ministral3", "mistral",
        "mistral4", "mixtral", "mobilebert", "modernbert", "modernbert-decoder", "modernvbert", "mpnet",
        "mpt", "mra", "mt5", "mvp", "nemotron", "nomic_bert", "nystromformer", "olmo", "olmo2", "olmo3",
        "openai-gpt", "opt", "perceiver", "persimmon", "phi", "phi3", "phimoe", "plbart", "qwen2",
        "qwen2_moe", "qwen3", "qwen3_5", "qwen3_5_text", "qwen3_moe", "qwen3_next", "reformer", "rembert",
        "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "seed_oss", "smollm3", "squeezebert",
        "stablelm", "starcoder2", "t5", "t5gemma", "t5gemma2", "tapas", "ultrabert", "ultravbert", "umt5",
        "xlm", "xlm-roberta", "xlm-roberta-xl", "xlnet", "xmod", "yoso", "zamba", "zamba2",
    ),
    "AudioClassification": (
        "audio-spectrogram-transformer", "data2vec-audio", "hubert", "sew", "sew-d", "unispeech",
        "unispeech-sat", "wav2vec2", "wav2vec2-bert", "wav2vec2-conformer", "wavlm", "whisper",
    ),
    "VideoClassification": (
        "timesformer", "videomae", "videoprism_vision_model", "vivit", "vjepa2",
    ),
}  # fmt: skip


# ------------------------------------------------------------------ the fields' own packages


def monai_model(name: str) -> tuple[nn.Module, Tensor]:
    """A network of MONAI for volumes of 32 x 32 x 32 or images of 64 x 64."""
    nets = importlib.import_module("monai.networks.nets")
    volume = torch.randn(SAMPLES, 1, 32, 32, 32, generator=torch.Generator().manual_seed(1))
    image = images(64, 1)
    torch.manual_seed(0)
    build: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
        "DenseNet121": lambda: (nets.DenseNet121(2, 1, CLASSES), image),
        "ResNet": lambda: (nets.ResNet("basic", [1, 1, 1, 1], [8, 16, 24, 32], spatial_dims=3, n_input_channels=1, conv1_t_size=3, conv1_t_stride=2, num_classes=CLASSES), volume),
        "SEResNet50": lambda: (nets.SEResNet50(spatial_dims=2, in_channels=1, num_classes=CLASSES), image),
        "EfficientNetBN": lambda: (nets.EfficientNetBN("efficientnet-b0", pretrained=False, spatial_dims=2, in_channels=1, num_classes=CLASSES), image),
        "ViT": lambda: (nets.ViT(1, (32, 32, 32), (8, 8, 8), hidden_size=32, mlp_dim=64, num_layers=2, num_heads=4, classification=True, num_classes=CLASSES, post_activation=""), volume),
        "Classifier": lambda: (nets.Classifier((1, 32, 32, 32), CLASSES, (4, 8), (2, 2)), volume),
        "Regressor": lambda: (nets.Regressor((1, 32, 32, 32), (CLASSES,), (4, 8), (2, 2)), volume),
        "SENet154": lambda: (nets.SENet(2, 1, "se_bottleneck", [1, 1, 1, 1], 4, 16, num_classes=CLASSES), image),
        "UNet": lambda: (nets.UNet(2, 1, 2, (4, 8, 16), (2, 2)), image),
        "SwinUNETR": lambda: (nets.SwinUNETR(1, 2, feature_size=12, spatial_dims=2, use_checkpoint=False), image),
        "TorchVisionFCModel": lambda: (nets.TorchVisionFCModel("resnet18", CLASSES, pool=("avg", {"kernel_size": 2, "stride": 1}), pretrained=False), images(64)),
    }  # fmt: skip
    model, x = build[name]()
    return OfFirst(model) if name == "ViT" else model, x


class OfFirst(nn.Module):
    """The first of the outputs of a model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)[0]


def sequences(length: int, channels_last: bool = False) -> Tensor:
    letters = torch.randint(0, 4, (SAMPLES, length), generator=torch.Generator().manual_seed(1))
    x = nn.functional.one_hot(letters, 4).float()
    return x if channels_last else x.mT.contiguous()


def enformer() -> tuple[nn.Module, Tensor]:
    package = importlib.import_module("enformer_pytorch")
    model = package.Enformer.from_hparams(
        dim=96,
        depth=2,
        heads=4,
        output_heads={"human": CLASSES},
        target_length=8,
        num_downsamples=5,
        dim_divisible_by=8,
    )

    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            return self.model(x)["human"].mean(1)

    return Mean(), sequences(512, channels_last=True)


def bpnet() -> tuple[nn.Module, Tensor]:
    package = importlib.import_module("bpnetlite.bpnet")

    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = package.BPNet(n_filters=8, n_layers=3, n_outputs=1, n_control_tracks=0, trimming=24)

        def forward(self, x: Tensor) -> Tensor:
            return self.model(x)[1]

    return Counts(), sequences(256)


def chrombpnet() -> tuple[nn.Module, Tensor]:
    package, whole = (
        importlib.import_module("bpnetlite.bpnet"),
        importlib.import_module("bpnetlite.chrombpnet"),
    )

    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            bias = package.BPNet(n_filters=4, n_layers=2, n_outputs=1, n_control_tracks=0, trimming=24)
            main = package.BPNet(n_filters=8, n_layers=3, n_outputs=1, n_control_tracks=0, trimming=24)
            self.model = whole.ChromBPNet(bias=bias, accessibility=main, name="small")

        def forward(self, x: Tensor) -> Tensor:
            return self.model(x)[1]

    return Counts(), sequences(256)


def tabnet() -> tuple[nn.Module, Tensor]:
    package = importlib.import_module("pytorch_tabnet.tab_network")
    group = torch.eye(12, dtype=torch.float64)
    model = package.TabNet(12, CLASSES, n_d=8, n_a=8, n_steps=3, group_attention_matrix=group)
    return OfFirst(model), torch.randn(SAMPLES, 12, generator=torch.Generator().manual_seed(1))


def ft_transformer() -> tuple[nn.Module, Tensor]:
    package = importlib.import_module("rtdl_revisiting_models")
    model = package.FTTransformer(
        n_cont_features=12, cat_cardinalities=[], d_out=CLASSES, n_blocks=2, d_block=16, attention_n_heads=4,
        attention_dropout=0.1, ffn_d_hidden_multiplier=2.0, ffn_dropout=0.1, residual_dropout=0.0,
    )  # fmt: skip

    class Continuous(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            return self.model(x, None)

    return Continuous(), torch.randn(SAMPLES, 12, generator=torch.Generator().manual_seed(1))


class Posterior(nn.Module):
    """SCANVI's classifier at the mean of the posterior, for one batch."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        batches = torch.zeros(len(x), 1, dtype=torch.long)
        return self.model.classify(x.abs(), batch_index=batches, use_posterior_mean=True)


def scanvi() -> tuple[nn.Module, Tensor]:
    package = importlib.import_module("scvi.module")
    model = package.SCANVAE(n_input=20, n_batch=3, n_labels=CLASSES, n_hidden=16, n_latent=6)
    return Posterior(model), 5 * torch.rand(SAMPLES, 20, generator=torch.Generator().manual_seed(1))


def grelu() -> tuple[nn.Module, Tensor]:
    package = importlib.import_module("grelu.model.models")
    return package.ConvModel(n_tasks=CLASSES, final_pool_func="avg"), sequences(256)


def node() -> tuple[nn.Module, Tensor]:
    package = importlib.import_module("pytorch_tabular.models.common.layers")
    trees = nn.Sequential(package.ODST(12, 8, depth=3), nn.Linear(8, CLASSES))
    return trees, torch.randn(SAMPLES, 12, generator=torch.Generator().manual_seed(1))


def borzoi() -> tuple[nn.Module, Tensor]:
    package = importlib.import_module("borzoi_pytorch")
    options = {
        "dim": 96,
        "depth": 1,
        "heads": 4,
        "attn_dim_key": 16,
        "attn_dim_value": 24,
        "bins_to_return": 8,
    }
    model = package.Borzoi.from_hparams(**options)

    class Track(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:  # tracks (N, T, bins)
            return self.model(x)[:, :CLASSES].mean(2)

    return InDouble(Track()), sequences(1024)


def with_controls() -> tuple[nn.Module, Tensor]:
    """The profile of both strands, for control tracks that are held."""
    package = importlib.import_module("bpnetlite.bpnet")
    options = {"n_filters": 8, "n_layers": 3, "n_outputs": 2, "n_control_tracks": 2, "trimming": 24}

    class Profile(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = package.ProfileWrapper(package.BPNet(**options))
            tracks = torch.rand(1, 2, 256, generator=torch.Generator().manual_seed(2))
            self.register_buffer("tracks", tracks)

        def forward(self, x: Tensor) -> Tensor:
            return self.model(x, self.tracks.expand(len(x), -1, -1))

    return Profile(), sequences(256)


def eugene(name: str) -> tuple[nn.Module, Tensor]:
    package = importlib.import_module("eugene.models.zoo")
    convolutions = {
        "input_channels": 4,
        "conv_channels": [8, 16],
        "conv_kernels": [9, 5],
        "pool_kernels": [4, 4],
    }
    hidden = {"hidden_dims": [16]}
    build = {
        "dsCNN": lambda: package.dsCNN(256, CLASSES, convolutions, "avg", hidden),
        "DeepBind": lambda: package.DeepBind(256, CLASSES),
        "DeepSEA": lambda: package.DeepSEA(256, CLASSES, {"conv_channels": [8, 16, 32]}, hidden),
        "Basset": lambda: package.Basset(256, CLASSES, {"conv_channels": [8, 16, 32]}, hidden),
    }
    return build[name](), sequences(256)


def selene() -> tuple[nn.Module, Tensor]:
    package = importlib.import_module("selene_sdk.utils")
    return package.NonStrandSpecific(package.DeeperDeepSEA(512, CLASSES)), sequences(512)


def stand_in(modules: dict[str, dict[str, Any]]) -> None:
    """Modules that a package imports, but none of whose code its network runs."""
    for name, held in modules.items():
        sys.modules.setdefault(name, ModuleType(name)).__dict__.update(held)


def scgpt() -> tuple[nn.Module, Tensor]:
    """scGPT with continuous values; its package imports torchtext, which was given up, for a vocabulary that is not needed."""
    stand_in({"torchtext": {}, "torchtext.vocab": {"Vocab": object}})
    package = importlib.import_module("scgpt.model.model")
    options = {"n_cls": CLASSES, "vocab": {"<pad>": 0}, "dropout": 0.1}
    model = package.TransformerModel(30, 32, 4, 64, 2, **options)

    class Cells(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            genes = torch.arange(1, 1 + x.shape[1]).expand(len(x), -1)
            return self.model(genes, x, torch.zeros_like(genes, dtype=torch.bool), CLS=True)["cls_output"]

    return Cells(), 5 * torch.rand(SAMPLES, 20, generator=torch.Generator().manual_seed(1))


def crested(backend: str) -> tuple[Any, Tensor]:
    """CREsted's small network in Keras, in double precision; a process has one backend."""
    os.environ.setdefault("KERAS_BACKEND", backend)
    keras = importlib.import_module("keras")
    if keras.backend.backend() != backend:
        raise ValueError(
            f"Keras runs on {keras.backend.backend()} here: start anew with KERAS_BACKEND={backend}"
        )
    if backend == "jax":
        importlib.import_module("jax").config.update("jax_enable_x64", True)
    keras.config.set_floatx("float64")
    keras.utils.set_random_seed(0)
    small = {"first_filters": 16, "filters": 16, "dense_size": 16}
    if (
        backend == "jax"
    ):  # the package asks for torch or tensorflow in data loaders and in attention, which are not in this network
        folder = importlib.import_module("crested").__path__[0]
        stand_in(
            {
                f"crested.{part}": {"__path__": [f"{folder}/{part.replace('.', '/')}"]}
                for part in ("tl", "tl.zoo")
            }
        )
        stand_in(
            {"crested.tl.zoo.utils._attention": dict.fromkeys(("AttentionPool1D", "MultiheadAttention"))}
        )
    network = importlib.import_module("crested.tl.zoo._simple_convnet")
    model = network.simple_convnet(256, CLASSES, **small)
    x = sequences(256, channels_last=True)
    for layer in model.layers:
        if hasattr(layer, "moving_mean"):
            layer.momentum = 0.0
    model(
        x.double() if backend == "torch" else x.double().numpy(), training=True
    )  # statistics of these samples
    for weight in model.weights:  # biases, norms and their statistics that are not trivial
        values = weight.numpy() if backend == "torch" else np.asarray(weight)
        if np.ptp(values) == 0:
            weight.assign(values + np.random.default_rng(0).uniform(0, 0.3, values.shape))
    if backend == "torch":  # in two parts, as its layers are called past torch's hooks
        last = [layer.output for layer in model.layers if len(layer.output.shape) == 3][-1]
        halves = keras.Model(model.input, last), keras.Model(last, model.output)
        return nn.Sequential(*map(OfDict, halves)), x
    trained, held = (
        [v.value for v in vs] for vs in (model.trainable_variables, model.non_trainable_variables)
    )
    return from_jax(lambda v: model.stateless_call(trained, held, v, training=False)[0]), x


class OfDict(nn.Module):
    """A Keras model on torch, or a part of one, as a module of torch."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x, training=False)


def skorch() -> tuple[nn.Module, Tensor]:
    package = importlib.import_module("skorch")
    net = package.NeuralNetClassifier(partial(table_net, 12))
    x = torch.randn(SAMPLES, 12, generator=torch.Generator().manual_seed(1))
    return net.initialize().module_, x


def table_net(features: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(features, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, CLASSES), nn.Softmax(1)
    )


def lightning() -> tuple[nn.Module, Tensor]:
    package = importlib.import_module("lightning")

    class Lit(package.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(
                nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.GELU(), nn.Conv2d(8, 8, 3), nn.ReLU()
            )
            self.head = nn.Linear(8, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.net(x).mean((2, 3)))

    return Lit(), images(48)


MONAI = (
    "DenseNet121", "ResNet", "SEResNet50", "EfficientNetBN", "ViT", "Classifier", "Regressor", "SENet154", "UNet", "SwinUNETR",
    "TorchVisionFCModel",
)  # fmt: skip
OTHERS = {
    ("enformer-pytorch", "Enformer"): enformer,
    ("bpnet-lite", "BPNet"): bpnet,
    ("bpnet-lite", "ChromBPNet"): chrombpnet,
    ("pytorch-tabnet", "TabNet"): tabnet,
    ("rtdl_revisiting_models", "FTTransformer"): ft_transformer,
    ("scvi-tools", "SCANVI"): scanvi,
    ("gReLU", "ConvModel"): grelu,
    ("pytorch_tabular", "NODE"): node,
    ("borzoi-pytorch", "Borzoi"): borzoi,
    ("bpnet-lite", "BPNet with control tracks"): with_controls,
    **{("eugene-tools", name): partial(eugene, name) for name in ("dsCNN", "DeepBind", "DeepSEA", "Basset")},
    ("selene-sdk", "DeeperDeepSEA of both strands"): selene,
    ("scgpt", "TransformerModel, continuous values"): scgpt,
    **{
        ("crested", f"simple_convnet on {backend}"): partial(crested, backend) for backend in ("jax", "torch")
    },
    ("skorch", "NeuralNetClassifier"): skorch,
    ("lightning", "LightningModule"): lightning,
}

torchvision_without_ops()
FAMILIES = [
    *(Family("timm", name, partial(timm_model, name), partial(timm_model, name)) for name in TIMM),
    *(
        Family("transformers", f"{kind} {name}", partial(transformers_model, kind, name))
        for kind, names in TRANSFORMERS.items()
        for name in names
    ),
    *(Family("monai", name, partial(monai_model, name)) for name in MONAI),
    *(Family(package, name, build) for (package, name), build in OTHERS.items()),
]
