"""What ingest found, for people and for the tracking server."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from llmclf_core.artifacts import SPLITS, TEST, TRAIN, VALIDATION
from llmclf_core.config import DuplicateConfig, IngestConfig
from llmclf_core.corpus.checks import label_counts, missing_labels
from llmclf_core.corpus.collect import Collected
from llmclf_core.corpus.duplicates import Duplicates
from llmclf_core.corpus.minhash import bands, detection
from llmclf_core.corpus.readers import Part
from llmclf_core.corpus.readers.base import shorten
from llmclf_core.corpus.rows import Mask, Rows
from llmclf_core.corpus.spool import Spool

_EXAMPLES = 5
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


def build(
    parts: list[Part],
    config: IngestConfig,
    collected: Collected,
    found: Duplicates,
    cut: list[str],
    kept: Mask,
) -> dict[str, Any]:
    """The validation report (JSON-serialisable).

    Args:
        parts: what was read, with what the readers noted.
        config: the settings.
        collected: the rows, with their splits assigned.
        found: the duplicates.
        cut: the splits that were made here.
        kept: the rows that the corpus has, shape (n,).
    """
    rows = collected.rows
    counts = label_counts(rows, kept)
    near = int(found.near.sum())
    removed = {
        "exact_duplicate": int(found.removed.sum()) - near,
        "near_duplicate": near,
        "train_rows_per_label": int((~found.removed & ~kept).sum()),
    }
    return {
        "sources": [_source(part) for part in parts],
        "rows": {
            "read": collected.read,
            "kept": int(kept.sum()),
            "dropped": dict(collected.dropped) | {k: n for k, n in removed.items() if n},
        },
        "splits": {
            split: {"rows": int((kept & (rows.splits == code)).sum()), "cut_here": split in cut}
            for code, split in enumerate(SPLITS)
        },
        "labels": {
            name: dict(zip(SPLITS, counts[:, i].tolist(), strict=True))
            for i, name in enumerate(collected.labels.names)
        },
        "text_characters": _quantiles(rows.lengths[kept]),
        "duplicates": _duplicates(collected, found, config.duplicates),
        "replaced_bytes": {file: n for part in parts for file, n in part.replaced.items()},
        "warnings": [warning for part in parts for warning in part.warnings]
        + _warnings(collected, config, found),
    }


def _source(part: Part) -> dict[str, str | None]:
    source = {"place": part.place, "format": part.format, "split": part.split}
    return source | ({"commit": part.commit[0]} if part.commit else {})


def _quantiles(lengths: npt.NDArray[np.int32]) -> dict[str, float]:
    values = np.quantile(lengths, _QUANTILES) if len(lengths) else np.zeros(len(_QUANTILES))
    names = ["min", *(f"p{round(100 * q)}" for q in _QUANTILES[1:-1]), "max"]
    return dict(zip(names, values.tolist(), strict=True))


def _duplicates(collected: Collected, found: Duplicates, config: DuplicateConfig) -> dict[str, Any]:
    splits = collected.rows.splits
    removed = _removals(found, splits)
    conflicts = found.conflicts[:_EXAMPLES]
    examples = [found.conflicts[:0], conflicts, *(pairs[:_EXAMPLES] for _, pairs in removed)]
    ids = _ids(collected.spool, np.concatenate(examples).ravel())
    return {
        "removed": [
            kind | {"rows": len(pairs), "examples": _named(pairs[:_EXAMPLES], ids)}
            for kind, pairs in removed
        ],
        "within_a_split": {
            kind: {split: int((splits[rows] == c).sum()) for c, split in enumerate(SPLITS)}
            for kind, rows in found.within.items()
        },
        "conflicting_labels": {
            "pairs": len(found.conflicts),
            "examples": _named(conflicts, ids),
        },
        "near": _near_settings(config) if config.near else None,
    }


def _removals(
    found: Duplicates, splits: npt.NDArray[np.int8]
) -> list[tuple[dict[str, str], npt.NDArray[np.int64]]]:
    """Kind, split and kept split of each sort of removal, with its (removed, kept) pairs."""
    removed = np.flatnonzero(found.removed)
    kept = found.kept_in_place_of[removed]
    pairs = np.stack([removed, kept], axis=1)
    sorts = []
    for kind, is_near in (("exact", False), ("near", True)):
        for loser, winner in ((TRAIN, TEST), (VALIDATION, TEST), (TRAIN, VALIDATION)):
            chosen = (
                (found.near[removed] == is_near)
                & (splits[removed] == SPLITS.index(loser))
                & (splits[kept] == SPLITS.index(winner))
            )
            if chosen.any():
                about = {"kind": kind, "removed_from": loser, "kept_in": winner}
                sorts.append((about, pairs[chosen]))
    return sorts


def _ids(spool: Spool, wanted: npt.NDArray[np.int64]) -> dict[int, str]:
    wanted = np.unique(wanted)
    ids: dict[int, str] = {}
    for first, batch in spool.read() if len(wanted) else ():
        inside = wanted[(wanted >= first) & (wanted < first + batch.num_rows)]
        ids |= {int(row): batch.column("id")[int(row) - first].as_py() for row in inside}
    return ids


def _named(pairs: npt.NDArray[np.int64], ids: dict[int, str]) -> list[list[str]]:
    return [[ids[a], ids[b]] for a, b in pairs.tolist()]


def _near_settings(config: DuplicateConfig) -> dict[str, Any]:
    n_bands, rows = bands(config.threshold, config.permutations)
    return config.model_dump(exclude={"near"}) | {
        "bands": n_bands,
        "rows_per_band": rows,
        "detection_at_threshold": round(detection(config.threshold, n_bands, rows), 4),
    }


def _warnings(collected: Collected, config: IngestConfig, found: Duplicates) -> list[str]:
    rows: Rows = collected.rows
    missing = missing_labels(rows, collected.labels, ~found.removed)
    warnings = [
        f"the {split} split has no row of {shorten(missing[split], 10)}: no figures for these"
        for split in (VALIDATION, TEST)
        if missing[split] and len(missing[split]) < len(collected.labels)
    ]
    warnings += [
        f"the {split} split is empty"
        for code, split in enumerate(SPLITS)
        if not (~found.removed & (rows.splits == code)).any()
    ]
    if len(found.conflicts):
        warnings.append(f"{len(found.conflicts)} pairs of like texts have different labels")
    if dropped := collected.dropped.total():
        warnings.append(f"{dropped} bad rows were dropped")
    return warnings
