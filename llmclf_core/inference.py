"""Classify the rows of a file, whatever its size."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llmclf_core.approaches.base import Classifier
from llmclf_core.config import IngestConfig, LabelColumns
from llmclf_core.corpus.fields import ids, is_blank, texts
from llmclf_core.corpus.readers import Chunk, read
from llmclf_core.corpus.sources import parts
from llmclf_core.errors import UserError, explain_os_errors
from llmclf_core.progress import Ticker


def predict_file(
    classifier: Classifier,
    source: Path,
    output: Path,
    text: list[str],
    id_column: str | None = None,
    batch_size: int = 16,
) -> int:
    """Classify every row of a file; memory does not grow with its length.

    Args:
        classifier: any classifier.
        source: CSV, TSV, JSONL, Parquet or Arrow file, or a directory that ingest can read.
        output: Parquet file with the columns ``id`` (the id column's value, or the row's number),
            ``predicted`` (a label; a list of labels when multi-label) and ``probabilities`` (a
            struct of one float32 a label).
        text: columns that are joined to the text, as in training.
        id_column: column with the rows' ids.
        batch_size: texts in a forward pass.

    Returns:
        The number of rows.

    Raises:
        UserError: for a missing file or column, a row without text, or an unwritable output.
    """
    # Readers want a label column; naming a text column asks for nothing more than the texts.
    config = IngestConfig(
        source=str(source), text=text, id=id_column, labels=LabelColumns(columns=text[:1])
    )
    draft = output.with_name(f".{output.name}.{uuid.uuid4().hex[:8]}.draft")
    with explain_os_errors(output), Ticker("predict") as ticker:
        try:
            with pq.ParquetWriter(draft, _schema(classifier)) as writer:
                for table in _predicted(classifier, config, batch_size):
                    writer.write_table(table)
                    ticker.update(table.num_rows)
            os.replace(draft, output)
        finally:
            draft.unlink(missing_ok=True)
    return ticker.done


def _predicted(classifier: Classifier, config: IngestConfig, batch_size: int) -> Iterator[pa.Table]:
    first = 1
    for part in parts(config):
        for chunk in read(part):
            yield _classify(classifier, chunk, config, first, batch_size)
            first += chunk.rows.num_rows


def _classify(
    classifier: Classifier, chunk: Chunk, config: IngestConfig, first: int, batch_size: int
) -> pa.Table:
    column = texts(chunk, config)
    blank = is_blank(column)
    if blank.any():
        raise UserError(
            f"{chunk.where(int(blank.argmax()))}: no text in {', '.join(config.text)}; remove the "
            "row or fill it in"
        )
    probabilities = classifier.predict_proba(column.to_pylist(), batch_size)
    decided = classifier.calibration.decide(probabilities, classifier.labels)
    names = [classifier.labels.decode(np.flatnonzero(row)) for row in decided]
    single = classifier.labels.task == "single"
    by_label = pa.StructArray.from_arrays(
        [pa.array(column, pa.float32()) for column in probabilities.T], classifier.labels.names
    )
    predicted = [n[0] for n in names] if single else names
    columns = [ids(chunk, config, first), predicted, by_label]
    return pa.table(columns, schema=_schema(classifier))


def _schema(classifier: Classifier) -> pa.Schema:
    single = classifier.labels.task == "single"
    label = pa.string() if single else pa.list_(pa.string())
    probability = pa.struct([(name, pa.float32()) for name in classifier.labels.names])
    return pa.schema([("id", pa.string()), ("predicted", label), ("probabilities", probability)])
