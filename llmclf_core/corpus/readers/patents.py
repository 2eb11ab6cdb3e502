"""Two public patent collections: WIPO-alpha (XML) and HUPD (JSON), one file a document."""

from __future__ import annotations

import html.entities
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException, ElementTree

from llmclf_core.corpus.readers.base import Chunk, Part
from llmclf_core.corpus.readers.records import Row, chunks
from llmclf_core.corpus.readers.text import explain_read_errors, whole
from llmclf_core.errors import UserError

_SECOND_CLAIM = re.compile(r"(?<=[.;])\s+2\s*[.)]\s")
RowParser = Callable[[Path, Part], Iterator[Row]]
_ENTITIES = {name.rstrip(";"): text for name, text in html.entities.html5.items()}


def read_wipo(part: Part) -> Iterator[Chunk]:
    """WIPO-alpha: XML files at any depth, with ``record`` elements.

    Columns: ``number``, ``title``, ``abstract``, ``claims``, ``first_claim``, ``description``;
    the main IPC symbol as ``section``, ``class``, ``subclass``, ``main_group`` (A, A01, A01B,
    A01B001) and whole as ``ipc``; ``ipcs``, the list of all of them; ``subclasses``, the list of
    their subclasses.
    Source: Fall et al., "Automated categorization in the international patent classification",
    SIGIR Forum 37(1), 2003.
    """
    return _read(part, "*.xml", _wipo_rows)


def read_hupd(part: Part) -> Iterator[Chunk]:
    """HUPD: one JSON object a file, at any depth; its fields are the columns, lists included.

    Added columns: ``first_claim``, and for ``main_ipcr_label`` and ``main_cpc_label`` the
    sections, classes and subclasses (``main_ipcr_subclass``: ``G06F`` of ``G06F1730``).
    Source: Suzgun et al., arXiv 2207.04043.
    """
    return _read(part, "*.json", _hupd_rows)


def _read(part: Part, pattern: str, parse: RowParser) -> Iterator[Chunk]:
    files = (file for root in part.paths for file in _files(root, pattern))
    return chunks((row for file in files for row in parse(file, part)), part, part.place)


def _files(root: Path, pattern: str) -> list[Path]:
    return [root] if root.is_file() else sorted(root.rglob(pattern))


def first_claim(claims: str) -> str:
    """The text before a new sentence numbered 2; all of it when the claims are not numbered."""
    return _SECOND_CLAIM.split(claims, maxsplit=1)[0].strip()


def _symbol(prefix: str, symbol: str) -> dict[str, str]:
    """Levels of an IPC or CPC symbol: ``A01B…`` is section A, class A01, subclass A01B."""
    ends = {"section": 1, "class": 3, "subclass": 4}
    return {f"{prefix}{level}": symbol[:end] for level, end in ends.items()}


def _wipo_rows(file: Path, part: Part) -> Iterator[Row]:
    parser = ElementTree.DefusedXMLParser()
    # The collection's DTD, which is never fetched, declares the usual named characters.
    parser.entity.update(_ENTITIES)
    try:
        with explain_read_errors(file):
            root = ElementTree.parse(file, parser=parser).getroot()
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise UserError(f"{file} is not valid XML: {error}") from None
    for record in root.iter("record"):
        yield Row(_wipo_values(record, file), str(file))


def _wipo_values(record: Element, file: Path) -> dict[str, Any]:
    ipcs = record.find("ipcs")
    main = "" if ipcs is None else ipcs.get("mc", "").strip()
    others = [] if ipcs is None else [ipc.get("ic", "").strip() for ipc in ipcs.iter("ipc")]
    symbols = list(dict.fromkeys(s for s in [main, *others] if s))
    claims = _text(record, "cl")
    return {
        "number": record.get("pn") or record.get("dnum") or file.stem,
        "title": _text(record, "ti"),
        "abstract": _text(record, "ab"),
        "claims": claims,
        "first_claim": first_claim(claims),
        "description": _text(record, "txt"),
        **_symbol("", main),
        "main_group": main[:7],
        "ipc": main,
        "ipcs": symbols,
        "subclasses": list(dict.fromkeys(s[:4] for s in symbols)),
    }


def _text(record: Element, tag: str) -> str:
    """The English text of the elements named ``tag``, else of all of them."""
    elements = list(record.iter(tag))
    language = "{http://www.w3.org/XML/1998/namespace}lang"
    english = [e for e in elements if (e.get(language) or "EN").upper() == "EN"]
    return "\n".join("".join(e.itertext()).strip() for e in english or elements)


def _hupd_rows(file: Path, part: Part) -> Iterator[Row]:
    try:
        patent = json.loads(whole(file, part))
    except ValueError as error:
        raise UserError(f"{file} is not valid JSON: {error}") from None
    if not isinstance(patent, dict):
        raise UserError(f"{file}: expected one JSON object, found {type(patent).__name__}")
    values = {"first_claim": first_claim(patent.get("claims") or ""), **patent}
    for kind in ("ipcr", "cpc"):
        values |= _symbol(f"main_{kind}_", patent.get(f"main_{kind}_label") or "")
    yield Row(values, str(file))
