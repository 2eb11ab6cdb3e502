"""Component: ingest."""

from typing import Any, Dict

from kfp import dsl
from kfp.dsl import Dataset, Output

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def ingest(corpus: Output[Dataset], settings: Dict[str, Any], source_version: str = ""):
    """Read, validate, deduplicate and split a labelled text collection.

    Args:
        corpus: Arrow splits `train`, `validation` and `test` with the label space and a report.
        settings: The recipe's `ingest` section.
        source_version: Changes when the source's content does, so that a cached corpus is not
            reused for changed data.
    """
    from pathlib import Path

    from llmclf_core.config import IngestConfig, parse
    from llmclf_core.corpus import ingest
    from llmclf_core.steps.process import step

    with step("ingest"):
        result = ingest(parse(IngestConfig, settings, "ingest"), Path(corpus.path))
    corpus.metadata.update(
        {name: len(rows) for name, rows in result.splits.items()},
        display_name="Corpus",
        labels=len(result.labels),
        task=result.labels.task,
        fingerprint=result.fingerprint,
        source_version=source_version,
    )
