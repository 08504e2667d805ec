"""Tables of pairs as the field publishes them."""

from pathlib import Path

import pytest

from attrib.workflows.fcgr.pairs import read_pairs

M, G = "TGAGGTAGTAGGTTGTATAG", "ATGTCAACCTACCTACTTCTAAGCACAGGG"
TABLES = {
    "tabs.tsv": f"mirna\ttarget\tlabel\n{M}\t{G}\t1\n", "mirna.tsv": f"miRNA\tgene\tlabel\n{M}\t{G}\t1\n",
    "noncoding.tsv": f"noncodingRNA\tgene\tlabel\n{M}\t{G}\t1\n", "semicolons.csv": f"mirna;target;label\n{M};{G};1\n",
    "true.csv": f"mirna,target,label\n{M},{G},True\n", "names.csv": f"mirna,mrna,target,label\n{M},NM_1,{G},1\n",
    "tabs.csv": f"mirna\ttarget\tlabel\n{M}\t{G}\t1.0\n", "mark.csv": f"\ufeffmirna,target,label\n{M},{G},1\n",
    "wide.csv": f"mirna\ttarget\tlabel\n{M}\t{G}\t1\n",
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_published_tables(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(TABLES[name], encoding="utf-16" if name == "wide.csv" else "utf-8")
    table = read_pairs(tmp_path / name, 6).table
    assert table[["mirna", "mrna", "label"]].values.tolist() == [[M, G, 1]]


def test_columns_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        f"mirna,guide,site,hit,key\nother,{M},{G},true,p1\nother,{M},{G},false,p2\n"
    )
    columns = {"mirna": "guide", "target": "site", "label": "hit", "id": "key"}
    table = read_pairs(tmp_path / "a.csv", 6, columns).table
    assert table.index.tolist() == ["p1", "p2"]
    assert table[["mirna", "mrna", "label"]].values.tolist() == [[M, G, 1], [M, G, 0]]
    with pytest.raises(ValueError, match=r"`columns`: .* has no column 'seq'; it has mirna, guide"):
        read_pairs(tmp_path / "a.csv", 6, {"mirna": "seq"})
    with pytest.raises(ValueError, match="`columns` names 'gene', expected mirna, target, label or id"):
        read_pairs(tmp_path / "a.csv", 6, {"gene": "site"})
