"""Things that are no arrays are refused with the line to write."""

from typing import Any

import pytest

import attrib


def kind(name: str, module: str) -> Any:
    return type(name, (), {"__module__": module, "__call__": lambda self, x: x})()


@pytest.mark.parametrize(
    ("x", "text"),
    [
        ("a sentence", "`x` is text, of which no gradient can be taken; pass the ids that the tokenizer gives"),
        (["two", "sentences"], r"`x` is text.*tokenizer\(texts, return_tensors='pt', padding=True\)"),
        ({"words": ["two"]}, r"`x\['words'\]` is text"),
        (kind("Nifti1Image", "nibabel.nifti1"), r"`x` is a Nifti1Image; pass attrib.io.from_nifti\(x\)"),
    ],
)  # fmt: skip
def test_inputs(x: Any, text: str) -> None:
    for method in (attrib.saliency, attrib.predict):
        with pytest.raises(TypeError, match=text):
            method(lambda x: x, x)


def test_a_pipeline() -> None:
    pipeline = kind("TextClassificationPipeline", "transformers.pipelines.text_classification")
    with pytest.raises(
        TypeError, match=r"`f` is a TextClassificationPipeline, .*pass its model, f.model.eval\(\)"
    ):
        attrib.saliency(pipeline, [[1.0]])
