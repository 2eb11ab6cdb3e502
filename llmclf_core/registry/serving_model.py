"""The model that MLflow loads: executed from this file (models from code), never unpickled.

``LLMCLF_BASE`` in the environment names the base model's place when it is not the recorded one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from llmclf_core.approaches import load_classifier

BASE = "LLMCLF_BASE"


class ServingModel(PythonModel):  # type: ignore[misc]
    """Texts to labels and probabilities."""

    def load_context(self, context: Any) -> None:
        """Load the classifier; raises UserError when its base model is missing or another one."""
        path = Path(context.artifacts["classifier"])
        self.classifier = load_classifier(path, base=os.environ.get(BASE) or None)

    def predict(
        self,
        context: Any,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Classify texts.

        Args:
            context: not used.
            model_input: a DataFrame with the column ``text``, a Series, an array or a list of
                strings, or one string.
            params: ``batch_size``, rows in one forward pass.

        Returns:
            A row for each text: ``label`` (string; a list of strings when multi-label) and
            ``probabilities`` (label name to probability).

        Raises:
            MlflowException: when a text is not a string (HTTP status 400 when served).
        """
        texts = _texts(model_input)
        batch_size = int((params or {}).get("batch_size", 16))
        labels, classifier = self.classifier.labels, self.classifier
        probabilities = classifier.predict_proba(texts, batch_size)
        decided = classifier.calibration.decide(probabilities, labels)
        names = [labels.decode(np.flatnonzero(row)) for row in decided]
        single = labels.task == "single"
        return pd.DataFrame(
            {
                "label": [row[0] for row in names] if single else names,
                "probabilities": [
                    dict(zip(labels.names, map(float, row), strict=True)) for row in probabilities
                ],
            }
        )


def _texts(model_input: Any) -> list[str]:
    if isinstance(model_input, pd.DataFrame):
        model_input = model_input["text"]
    elif isinstance(model_input, str):
        model_input = [model_input]
    texts = list(model_input)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise MlflowException.invalid_parameter_value(
                f"row {row}: the text has to be a string, not {type(text).__name__}"
            )
    return texts


set_model(ServingModel())
