"""The page of studies: what it says, and what it does in a browser."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from attrib.workflows.page import (
    _cell,
    browser,
    links,
    listing,
    page,
    paragraphs,
    pictures,
    quantised,
    search,
    table,
)
from tests.browser import held, opened

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
ODD = '100% <b>#1</b> & "x" </script>'


def parts() -> list[Any]:
    samples: list[dict[str, Any]] = [
        {
            "name": name, "label": label, "says": f"probability {p}", "wrong": p < 0.5, "probability": p,
            "map": {m: quantised(np.array([[0.5, -1.0], [0.0, 0.25]]) * k) for k, m in enumerate(("saliency", "ig"), 1)},
            "along": {"letters": "ACG", "values": [1.0, -2.0, 0.5], "marked": [[1, 2]]}, "rows": [["a", 2.0], ["b", 10.0]],
        }
        for name, label, p in (("first", "A", 0.9), ("second", "B", 0.2), (ODD, "A", 0.7))
    ]  # fmt: skip
    views: list[dict[str, Any]] = [
        {"kind": "picture", "file": "{method}/{name}_{slice}.png"},
        {"kind": "grid", "key": "map", "by": ["method"], "cells": "AACCGGTT", "letters": 2, "corners": list("CGAT"), "title": "map", "unit": "logit", "beside": True},
        {"kind": "track", "key": "along", "title": "along", "unit": "logit"},
        {"kind": "table", "key": "rows", "columns": ["gene", "mean"]},
        {"kind": "frame", "file": "{name}.html", "title": "open"},
    ]  # fmt: skip
    frame = pd.DataFrame(
        {"name": ["b", "a", "c10", "c9"] * 3, "p": [0.03, np.nan, 1e-9, 2.0] * 3, "n": range(12)}
    )
    return [
        paragraphs("3 samples."), paragraphs("beware", note=True), links(["a b.csv"]), listing("Left out", ["x: torn"], "problems.csv"),
        browser("Samples", samples, views, choices=[{"name": "method", "options": ["saliency", "ig"]}, {"name": "slice", "options": [10, 20, 30], "range": True, "start": 1}], order=["probability"]),
        table("Numbers", frame, "numbers.csv"), pictures("All", ["100% #1.png"]), search("Genes", "genes.js", "id"), None,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    means = base64.b64encode(np.array([[1, 2], [-3, 4]], "<f4").tobytes()).decode()
    genes = {"genes": ["ENSG1.2", "ENSG2"], "symbols": ["TP53", "MYC"], "labels": ["Liver", "Lung"], "means": {"ig": means}, "units": {"ig": "logit"}}  # fmt: skip
    (folder / "genes.js").write_text(f"window.GENES = {json.dumps(genes)};")
    for name in ("saliency/first_20", "ig/second_30", "100% #1"):
        (folder / f"{name}.png").parent.mkdir(exist_ok=True)
        (folder / f"{name}.png").write_bytes(PIXEL)
    (folder / "index.html").write_text(page(ODD, parts()), encoding="utf-8")
    return folder / "index.html"


def test_names_of_people_and_files_are_text(written: Path) -> None:
    text = written.read_text()
    assert "<b>" not in text
    assert 'src="100%25%20%231.png"' in text
    assert "http" not in text
    assert held(text)[0]["samples"][2]["name"] == ODD


def test_long_tables_and_lists_say_where_the_rest_is() -> None:
    text = page(
        "x", [table("T", pd.DataFrame({"a": range(600)}), "t.csv"), listing("L", list("ab") * 40, "l.csv")]
    )
    assert "100 more rows are in t.csv" in text
    assert [_cell(v)[0] for v in (999.7, 1234.5, 999.4, -0.01234)] == ["1000", "1234", "999", "-0.0123"]
    assert "and 20 more in l.csv" in text
    assert listing("L", [], "l.csv") is None
    assert pictures("P", []) is None
    assert browser("B", [], []) is None


def test_quantised_numbers_come_back() -> None:
    values = np.random.default_rng(0).normal(size=(3, 5))
    one = quantised(values)
    back = np.frombuffer(base64.b64decode(one["values"]), np.int8).reshape(one["rows"], one["columns"])
    assert np.abs(back / 127 * one["limit"] - values).max() <= one["limit"] / 254 + 1e-12
    assert quantised(np.zeros((2, 2)))["limit"] == 0


def test_a_browser_opens_the_first_sample_and_all_parts(written: Path) -> None:
    dom = opened(written)
    assert 'src="saliency/first_20.png"' in dom
    assert "first: probability 0.9" in dom
    assert dom.count("<canvas") == 3  # the map, its scale, and the letters
    assert "3 of 3" in dom


def test_samples_are_chosen_by_address_and_click(written: Path) -> None:
    assert 'src="ig/second_30.png"' in opened(written, anchor="#sample=second&method=ig&slice=30")
    dom = opened(written, "document.querySelectorAll('.list div')[2].click()")
    assert 'src="saliency/100%25%20%3Cb%3E%231%3C%2Fb%3E' in dom
    dom = opened(
        written, "const q = document.querySelector('nav input[type=search]'); q.value = 'SEC'; q.oninput();"
    )
    assert "second: probability 0.2" in dom
    assert "1 of 3" in dom
    order = "const o = document.querySelector('.order'); o.selectedIndex = 2; o.onchange();"
    assert [n[:6] for n in listed(opened(written, order))] == ["second", "100% &", "first "]
    wrong = "const s = document.querySelector('.show'); s.value = 'wrong'; s.onchange();"
    assert [n[:6] for n in listed(opened(written, wrong))] == ["second"]
    gallery = "const g = document.querySelector('.gallery'); g.checked = true; g.onchange();"
    assert opened(written, gallery).count("_20.png") >= 3


def listed(dom: str) -> list[str]:
    return re.findall(r'role="option"[^>]*>(.*?)</div>', dom)


def test_tables_sort_numbers_as_numbers_and_names_as_people_do(written: Path) -> None:
    click = "document.querySelectorAll('table.sortable')[0].tHead.rows[0].cells[{}].click();"
    assert cells(opened(written, click.format(0)), 0)[::3] == ["a", "b", "c9", "c10"]
    down = cells(opened(written, click.format(1) * 2), 1)
    assert down == ["2"] * 3 + ["0.03"] * 3 + ["1e-09"] * 3 + [""] * 3  # without a number last
    find = "const f = document.querySelector('input.filter'); f.value = 'C9'; f.oninput();"
    assert opened(written, find).count('<tr hidden="">') == 9


def cells(dom: str, column: int) -> list[str]:
    body = dom.split('<table class="sortable">')[1].split("<tbody>")[1].split("</tbody>")[0]
    return [re.findall(r"<td[^>]*>(.*?)</td>", row)[column] for row in body.split("</tr>")[:-1]]


def test_the_search_finds_genes_by_symbol_and_without_version(written: Path) -> None:
    ask = "const g = document.querySelector('.search input'); g.value = '{}'; g.oninput();"
    assert "ENSG2 (MYC): mean ig by label (logit)" in opened(written, ask.format("myc"))
    assert "no such gene among the 2" in opened(written, ask.format("nothing"))
    assert "ENSG1.2 (TP53)" in opened(written, anchor="#gene=ENSG1.2")
