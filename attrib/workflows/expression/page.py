"""The page of the study: figures of the run, a gene search, leading genes and heat maps label by label."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from attrib.workflows.document import document, links, listing, pictures, table
from attrib.workflows.expression.findings import Findings

SEARCHED = 24 << 20  # bytes of mean attributions on the page; beyond, those of the first method alone
STYLE = (
    "<style>.bars td{padding:0 6px;font-size:13px}.bars div{height:11px}.up{background:#b2182b}.down{background:#2166ac}"
    "select,input{font-size:15px;padding:3px}#heat{max-width:100%}section{margin-bottom:2em}</style>"
)
SEARCH = """<section><h2>Gene search</h2>
<p><input id="gene" list="near" placeholder="id or symbol" size="28" autocomplete="off"> <datalist id="near"></datalist>
<select id="method"></select> <span id="said" class="note"></span></p><div id="answer"></div></section>
<script src="genes.js"></script><script>
(function(){
const byId=i=>document.getElementById(i), D=window.GENES, gene=byId("gene"), method=byId("method");
const cache={};
function means(m){ if(!cache[m]){ const s=atob(D.means[m]), b=new Uint8Array(s.length); for(let k=0;k<s.length;k++) b[k]=s.charCodeAt(k);
  cache[m]=new Float32Array(b.buffer); } return cache[m]; }
Object.keys(D.means).forEach(m=>method.add(new Option(m.replaceAll("_"," "),m)));
const lower=D.genes.map(g=>g.toLowerCase()), symbols=(D.symbols||[]).map(g=>g.toLowerCase());
function place(q){ q=q.trim().toLowerCase(); let k=lower.indexOf(q); if(k<0) k=symbols.indexOf(q); if(k<0) k=lower.indexOf(q.split(".")[0]); return k; }
function suggest(){ const q=gene.value.trim().toLowerCase(), near=byId("near"); near.textContent=""; if(q.length<2) return; let n=0;
  for(let k=0;k<lower.length&&n<12;k++) if(lower[k].startsWith(q)||(symbols[k]||"").startsWith(q)){ const o=document.createElement("option");
    o.value=D.symbols?D.symbols[k]:D.genes[k]; near.append(o); n++; } }
function show(){ const answer=byId("answer"), said=byId("said"); answer.textContent=""; said.textContent=""; if(!gene.value.trim()) return;
  const k=place(gene.value); if(k<0){ said.textContent="no such gene among the "+D.genes.length+" of the model"; return; }
  const L=D.labels.length, all=means(method.value), values=D.labels.map((l,j)=>[l,all[k*L+j]]);
  const largest=Math.max(...values.map(v=>Math.abs(v[1])))||1; values.sort((a,b)=>Math.abs(b[1])-Math.abs(a[1]));
  const head=document.createElement("p"); head.textContent=D.genes[k]+(D.symbols?" ("+D.symbols[k]+")":"")+": mean "+method.value.replaceAll("_"," ")+" by label ("+D.units[method.value]+")";
  const body=document.createElement("table"); body.className="bars";
  for(const [l,v] of values){ const row=body.insertRow(); row.insertCell().textContent=l; const n=row.insertCell(); n.className="n"; n.textContent=v.toPrecision(3);
    const bar=document.createElement("div"); bar.style.width=(260*Math.abs(v)/largest)+"px"; bar.className=v<0?"down":"up"; row.insertCell().append(bar); }
  answer.append(head,body); }
gene.addEventListener("input",()=>{suggest();show();}); method.addEventListener("change",show);
const asked=new URLSearchParams(location.search).get("gene"); if(asked){ gene.value=asked; show(); }
})();
</script>"""
BROWSER = """<script>
(function(){
const label=document.getElementById("label"), how=document.getElementById("how");
function show(){ document.querySelectorAll("[data-label]").forEach(e=>{ e.hidden=!(e.dataset.label===label.value&&e.dataset.method===how.value);
  if(!e.hidden) e.querySelectorAll("img[data-src]").forEach(i=>{ i.src=i.dataset.src; i.removeAttribute("data-src"); }); }); }
label.addEventListener("change",show); how.addEventListener("change",show); show();
})();
</script>"""


def gene_data(results: Mapping[str, Findings]) -> str:
    """The mean attributions of all genes by label, as a script that the page loads."""
    moments = next(iter(results.values())).moments
    data: dict[str, Any] = {
        "genes": moments["gene"].values.astype(str).tolist(),
        "symbols": moments["symbol"].values.astype(str).tolist() if "symbol" in moments.coords else None,
        "labels": moments["label"].values.astype(str).tolist(),
        "means": {},
        "units": {},
    }
    size = moments["mean"].size * 4
    for method in list(results)[: max(1, SEARCHED // max(1, size))]:
        mean = results[method].moments["mean"].transpose("gene", "label")
        data["means"][method] = base64.b64encode(
            np.ascontiguousarray(mean.values, dtype="<f4").tobytes()
        ).decode()
        data["units"][method] = mean.attrs.get("units", "")
    return f"window.GENES = {json.dumps(data)};\n"


def page(
    summary: Mapping[str, Any],
    results: Mapping[str, Findings],
    enriched: pd.DataFrame | None,
    files: Sequence[str],
) -> str:
    """The page, with links to all files."""
    overviews = [f for f in files if f.endswith(".png") and not f.startswith("heatmap_")]
    parts = [
        STYLE,
        _head(summary),
        links(f for f in files if not f.startswith("heatmap_")),
        listing("Left out", [f"{k}: {v}" for k, v in summary["problems"].items()], "summary.json"),
        listing("Genes of the model that the data lack", summary["missing_genes"], "summary.json"),
        _methods(summary["methods"]),
        SEARCH,
        _browser(summary, results),
        "<h2>Over all labels</h2>",
        pictures(overviews),
        _sets(enriched),
    ]
    return document("Expression", [p for p in parts if p])


def _head(summary: Mapping[str, Any]) -> str:
    accuracy = summary["accuracy_of_all_samples"]
    correct = "" if accuracy is None else f", {accuracy:.1%} of them predicted correctly"
    few = summary["labels_with_few_samples"]
    lines = [
        f"{summary['samples']} samples of {summary['genes']} genes{correct}; {summary['explained']} explained, of {len(summary['labels'])} labels."
    ]
    if few:
        lines.append(
            f"Labels with fewer than three explained samples, whose figures say little: {', '.join(few)}."
        )
    if summary["labels_without_explained_samples"]:
        lines.append(
            f"Labels without explained samples: {', '.join(summary['labels_without_explained_samples'])}."
        )
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def _methods(methods: Sequence[Mapping[str, Any]]) -> str:
    rows = pd.DataFrame([
        {
            "method": m["method"], "completeness error (median)": m.get("completeness_error_median"), "largest": m.get("completeness_error_max"),
            "deletion z (median)": m.get("deletion_z_median"),
            "model evaluations": m.get("evaluations"), "seconds": m.get("seconds"), "skipped": m.get("skipped", ""),
        }
        for m in methods
    ])  # fmt: skip
    return f"<h2>Methods</h2>{table(rows, 'run.json')}"


def _browser(summary: Mapping[str, Any], results: Mapping[str, Findings]) -> str:
    """Leading genes and heat map of a label and a method, which are chosen."""
    labels = sorted(summary["labels"])
    options = "".join(f"<option>{escape(n)}</option>" for n in labels)
    methods = "".join(f'<option value="{m}">{escape(m.replace("_", " "))}</option>' for m in results)
    panels = []
    for method, part in results.items():
        for label, rows in part.top.groupby("label"):
            file = summary["heatmaps"].get(str(label), {}).get(method)
            picture = f'<p><img data-src="{quote(file)}" alt="{escape(file)}"></p>' if file else ""
            body = table(rows.drop(columns="label"), "top_genes.csv")
            panels.append(
                f'<div data-label="{escape(str(label))}" data-method="{method}" hidden>{picture}{body}</div>'
            )
    choice = f'<p><select id="label">{options}</select> <select id="how">{methods}</select></p>'
    return f"<section><h2>Leading genes</h2>{choice}{''.join(panels)}{BROWSER}</section>"


def _sets(enriched: pd.DataFrame | None) -> str:
    if enriched is None:
        return ""
    rows = enriched[enriched["q"] <= 0.05].sort_values(["method", "label", "p"], kind="stable")
    return f"<h2>Gene sets among the leading genes (q of at most 0.05)</h2>{table(rows, 'enrichment.csv')}"
