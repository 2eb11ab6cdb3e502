"""``llmclf predict``: classify texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmclf_core.errors import UserError
from pipelines.commands.options import Runs


def predict(
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to classify.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Directory, or models:/NAME@champion. Default: the latest run's."),
    ] = None,
    input: Annotated[Path | None, typer.Option(help="CSV, TSV, JSONL or Parquet file.")] = None,
    output: Annotated[Path | None, typer.Option(help="Parquet file to write.")] = None,
    text: Annotated[list[str] | None, typer.Option(help="Text column; repeat to join.")] = None,
    id_column: Annotated[str | None, typer.Option("--id", help="Column with row ids.")] = None,
    base: Annotated[str | None, typer.Option(help="Where the base model lies now.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts in a forward pass.")] = 16,
    runs: Runs = Path("runs"),
) -> None:
    """Classify texts given here, or the rows of a file."""
    from llmclf_core.inference import predict_file
    from pipelines.latest import open_classifier
    from pipelines.show import show_predictions

    if bool(texts) == (input is not None) or (input is None) != (output is None):
        raise UserError("give either texts, or --input together with --output")
    classifier = open_classifier(model, runs, base)
    if texts:
        show_predictions(texts, classifier, classifier.predict_proba(texts, batch_size))
    elif input is not None and output is not None:
        rows = predict_file(classifier, input, output, text or ["text"], id_column, batch_size)
        print(f"{rows} rows classified, written to {output}")
