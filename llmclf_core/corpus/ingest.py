"""Ingest, from the source to the corpus on disk."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from llmclf_core.artifacts import Corpus
from llmclf_core.config import IngestConfig
from llmclf_core.corpus import report
from llmclf_core.corpus.checks import (
    refuse_duplicate_ids,
    refuse_rare_labels,
    refuse_untrained_labels,
)
from llmclf_core.corpus.collect import Collected, collect
from llmclf_core.corpus.duplicates import Duplicates, add_near, find_exact
from llmclf_core.corpus.sources import parts
from llmclf_core.corpus.splitting import assign
from llmclf_core.corpus.thinning import thin
from llmclf_core.corpus.write import write_splits
from llmclf_core.errors import UserError
from llmclf_core.files import atomic_directory, load_split
from llmclf_core.labels import LabelSpace
from llmclf_core.paths import fingerprint

_LOG = logging.getLogger(__name__)

# Where the rows come from, and how they are decoded, does not change what the corpus is.
_PLACE = {"source", "format", "revision", "subset", "encoding", "bad_bytes"}


def ingest(config: IngestConfig, output: Path) -> Corpus:
    """Read, validate, split and deduplicate a labelled text collection.

    Memory does not grow with the length of the texts: these are streamed through a file beside
    the output; a row costs about 150 bytes.

    Args:
        config: the settings.
        output: the corpus directory; replaced in one step when all is well.

    Returns:
        The corpus, memory-mapped from ``output``.

    Raises:
        UserError: for anything in the settings, the data or the output place that the user has to
            mend; the previous output is then as it was.
    """
    _check_settings(config)
    sources = parts(config)
    with atomic_directory(output) as draft:
        spool = draft / "spool"
        spool.mkdir()
        collected = collect(sources, config, spool)
        refuse_duplicate_ids(collected, config)
        refuse_rare_labels(collected.rows, collected.labels, config.min_rows_per_label)
        cut = _split(collected, config)
        found = _deduplicate(collected, config)
        kept = thin(collected.rows, ~found.removed, config.split)
        marks = write_splits(collected.spool, collected.rows, kept, draft)
        corpus = Corpus(
            {split: load_split(draft / split) for split in marks},
            collected.labels,
            _fingerprint(config, collected.labels, marks),
            report.build(sources, config, collected, found, cut, kept),
        )
        corpus.write_header(draft)
        shutil.rmtree(spool)
    for warning in corpus.report["warnings"]:
        _LOG.warning("%s", warning)
    return Corpus.load(output)


def _check_settings(config: IngestConfig) -> None:
    for setting, names in (("text", config.text), ("labels.columns", config.labels.columns)):
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(f"`{setting}` names column {twice[0]!r} twice")


def _split(collected: Collected, config: IngestConfig) -> list[str]:
    rows, labels = collected.rows, collected.labels
    cut = assign(rows, config.split, labels.task == "multi")
    everything = rows.splits >= 0
    why = "the given splits leave it out; mend them, or let ingest split the rows"
    refuse_untrained_labels(rows, labels, everything, why)
    return cut


def _deduplicate(collected: Collected, config: IngestConfig) -> Duplicates:
    rows, label_sets = collected.rows, collected.rows.label_sets()
    found = find_exact(rows.texts, rows.splits, label_sets)
    if collected.signatures:
        add_near(
            found,
            rows.texts,
            rows.splits,
            label_sets,
            *collected.signatures.finish(),
            config.duplicates.threshold,
        )
    why = (
        f"{int(found.removed.sum())} rows were removed that repeat validation or test rows; "
        "remove duplicates from the source, or change `split` or `duplicates`"
    )
    refuse_untrained_labels(rows, collected.labels, ~found.removed, why)
    return found


def _fingerprint(config: IngestConfig, labels: LabelSpace, marks: dict[str, str]) -> str:
    settings: dict[str, Any] = config.model_dump(mode="json", exclude=_PLACE)
    return fingerprint(settings, labels.to_json(), marks)
