"""WIPO-alpha XML and HUPD JSON, in files made after the real layouts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmclf_core.artifacts import SPLITS
from llmclf_core.corpus.readers.patents import first_claim
from llmclf_core.errors import UserError
from tests.unit.corpus.conftest import sentence

RECORD = """<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE record SYSTEM "../../../../../ipctraining.dtd">
<record cy="WO" an="US99{i:05}" pn="WO00{i:05}" dnum="00{i:05}" kind="A1">
<ipcs ed="7" mc="{main}"><ipc ic="{other}"></ipc></ipcs>
<tis><ti xml:lang="FR">TITRE</ti><ti xml:lang="EN">TITLE {i} caf\xe9 &eacute; &lt;</ti></tis>
<abs><ab xml:lang="EN">{abstract}</ab></abs>
<cls><cl xml:lang="EN">1. First <b>claim</b> {i}. 2. Second claim.</cl></cls>
<txts><txt xml:lang="EN">Long description.</txt></txts>
</record>
"""
SYMBOLS = ["A01B00100", "A01B03310", "G06F01730"]


def _wipo(root: Path, numbers) -> None:
    for i in numbers:
        main, other = SYMBOLS[i % 3], SYMBOLS[(i + 1) % 3]
        text = RECORD.format(i=i, main=main, other=other, abstract=sentence(i))
        path = root / main[0] / main[1:3] / main[3] / f"{i}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("latin-1"))


def test_wipo_alpha_by_subclass(run, tmp_path):
    _wipo(tmp_path / "wipo" / "train", range(30))
    _wipo(tmp_path / "wipo" / "test", range(30, 42))
    corpus = run(
        tmp_path / "wipo",
        id="number",
        text=["title", "first_claim", "abstract"],
        labels={"columns": ["subclass"]},
    )
    assert corpus.labels.names == ("A01B", "G06F")
    assert len(corpus.splits["test"]) == 12
    row = next(r for r in corpus.splits["test"] if r["id"] == "WO0000030")
    assert row["text"] == f"TITLE 30 café é <\n\n1. First claim 30.\n\n{sentence(30)}"
    assert corpus.labels.decode(row["labels"]) == ["A01B"]


def test_wipo_alpha_with_all_symbols(run, tmp_path):
    _wipo(tmp_path / "wipo", range(30))
    corpus = run(
        tmp_path / "wipo",
        text=["abstract"],
        labels={"columns": ["ipcs"], "layout": "list", "task": "multi"},
    )
    assert corpus.labels.names == tuple(SYMBOLS)
    assert all(len(labels) == 2 for labels in corpus.splits["train"]["labels"])


BOMB = '<!DOCTYPE r [<!ENTITY a "xxxxxxxxxx"><!ENTITY b "&a;&a;&a;">]><record>&b;</record>'


@pytest.mark.parametrize(
    "content", ["<record><ti>", BOMB, "<record>&nosuch;</record>"], ids=["broken", "bomb", "entity"]
)
def test_unsafe_or_broken_xml_is_refused(run, tmp_path, content):
    (tmp_path / "d.xml").write_text(content)
    with pytest.raises(UserError, match=r"d\.xml is not valid XML"):
        run(tmp_path / "d.xml", text=["title"], labels={"columns": ["section"]})


def test_a_record_without_classes_has_no_label(run, tmp_path):
    _wipo(tmp_path / "wipo", range(3))
    (tmp_path / "wipo" / "z.xml").write_text("<record pn='1'><ti>Title</ti></record>")
    with pytest.raises(UserError, match=r"z\.xml: no label \('section'\)"):
        run(tmp_path / "wipo", text=["title"], labels={"columns": ["section"]})


def _hupd(root: Path, rows: int = 30) -> None:
    for i in range(rows):
        patent = {
            "application_number": f"15{i:06}",
            "title": f"Title {i}",
            "decision": ["ACCEPTED", "REJECTED"][i % 2],
            "main_ipcr_label": SYMBOLS[i % 3],
            "ipcr_labels": [SYMBOLS[i % 3], SYMBOLS[(i + 1) % 3]],
            "main_cpc_label": "",
            "abstract": sentence(i),
            "claims": f"1. A method {i}.\n 2. The method of claim 1.",
            "inventor_list": [{"inventor_city": "Bern"}],
        }
        path = root / str(2016 + i % 2) / f"15{i:06}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(patent), "utf-8")


def test_hupd_by_subclass(run, tmp_path):
    _hupd(tmp_path / "hupd")
    corpus = run(
        tmp_path / "hupd",
        id="application_number",
        text=["title", "first_claim", "abstract"],
        labels={"columns": ["main_ipcr_subclass"]},
    )
    assert corpus.labels.names == ("A01B", "G06F")
    rows = {r["id"]: r for split in SPLITS for r in corpus.splits[split]}
    assert len(rows) == 30
    assert rows["15000002"]["text"] == f"Title 2\n\n1. A method 2.\n\n{sentence(2)}"
    assert corpus.labels.decode(rows["15000002"]["labels"]) == ["G06F"]


def test_hupd_with_lists_and_with_its_decision(run, tmp_path):
    _hupd(tmp_path / "hupd")
    lists = {"columns": ["ipcr_labels"], "layout": "list", "task": "multi"}
    corpus = run(tmp_path / "hupd", text=["abstract"], labels=lists)
    assert corpus.labels.names == tuple(SYMBOLS)
    corpus = run(tmp_path / "hupd", text=["abstract"], labels={"columns": ["decision"]})
    assert corpus.labels.names == ("ACCEPTED", "REJECTED")


@pytest.mark.parametrize(
    ("content", "message"), [("{", "is not valid JSON"), ("[1]", "expected one JSON object")]
)
def test_broken_hupd_json_is_refused(run, tmp_path, content, message):
    (tmp_path / "d.json").write_text(content)
    with pytest.raises(UserError, match=message):
        run(tmp_path / "d.json", text=["title"], labels={"columns": ["decision"]})


def test_first_claim():
    assert (
        first_claim("1. A thing of 2 parts. 2. The thing of claim 1.") == "1. A thing of 2 parts."
    )
    assert first_claim("A thing without numbers") == "A thing without numbers"
