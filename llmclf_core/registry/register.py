"""The register step: a version in the registry, the gate, and the aliases."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from llmclf_core.approaches.base import HEADER
from llmclf_core.config import RegisterConfig
from llmclf_core.errors import UserError
from llmclf_core.evaluation.evaluation import Evaluation
from llmclf_core.files import read_json, stamp, write_json
from llmclf_core.registry.champion import champion_on, cost_tags, keep_predictions
from llmclf_core.registry.client import http_limits, require_reachable, tracking_uri, unreachable
from llmclf_core.registry.gate import Champion, GateResult, check_floor, judge
from llmclf_core.registry.journal import JOURNAL, read_journal
from llmclf_core.registry.learnt import keep_learnt
from llmclf_core.registry.package import CLASSIFIER_TAG, log_model, read_lineage, version_tags
from llmclf_core.registry.runs import REGISTERED_TAG, describe_parent, open_run, run_entry
from llmclf_core.registry.tracking import replay

log = logging.getLogger(__name__)

CHALLENGER, CHAMPION = "challenger", "champion"
GATE_TAG, REASONS_TAG = "llmclf.gate", "llmclf.gate_reasons"
_TAG_CHARS = 5000


@dataclass(frozen=True)
class Registration:
    """What came of it.

    Attributes:
        name: the registered model.
        version: its version.
        aliases: that the version has now.
        promoted: whether it passed the gate, and so is the champion. A champion that misses a floor
            which was raised since is not promoted, but keeps its alias.
        reasons: the gate's sentences.
        model_uri: loads exactly this version.
        run_id: the training run.
        parent_run_id: the pipeline execution's run, if there is one.
    """

    name: str
    version: str
    aliases: list[str]
    promoted: bool
    reasons: list[str]
    model_uri: str
    run_id: str
    parent_run_id: str | None

    def save(self, path: Path) -> None:
        """Write it as JSON to the file ``path``, atomically."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, stamp("registration") | asdict(self))

    @classmethod
    def load(cls, path: Path) -> Registration:
        """Raises UserError for anything that is not a registration of this schema."""
        data = read_json(path, "registration")
        return cls(**{name: data[name] for name in cls.__dataclass_fields__})


def register(
    classifier_path: Path,
    evaluation_path: Path,
    corpus_path: Path,
    config: RegisterConfig,
    name: str,
    output: Path,
) -> Registration:
    """Register a classifier as challenger, and as champion when it passes the gate.

    The same classifier, tested on the same corpus, is the same version however often this runs.

    Args:
        classifier_path: the classifier.
        evaluation_path: its evaluation.
        corpus_path: the corpus of that evaluation.
        config: the gate's settings.
        name: the registered model, unless the settings name another.
        output: JSON file of the registration.

    Raises:
        UserError: when the three do not belong together, a floor names no metric, or MLflow cannot
            be used.
    """
    evaluation = Evaluation.load(evaluation_path)
    _check_match(classifier_path, corpus_path, evaluation)
    check_floor(config.floor, evaluation.metrics)
    uri, kept = tracking_uri(), f"The trained classifier is kept in {classifier_path}."
    with http_limits(timeout=10, retries=2):
        client = require_reachable(uri, kept)
        try:
            paths = (classifier_path, evaluation_path, corpus_path)
            registration = _Registrar(client, config.name or name, *paths).run(evaluation, config)
        except (MlflowException, OSError) as error:
            raise unreachable(uri or "", error, kept) from error
    registration.save(output)
    describe_parent({REGISTERED_TAG: f"{registration.name}, version {registration.version}"})
    return registration


def _check_match(classifier: Path, corpus: Path, evaluation: Evaluation) -> None:
    mine = read_json(classifier / HEADER, "classifier")["fingerprint"]
    if evaluation.predictions.classifier != mine:
        raise UserError(
            f"the evaluation is of classifier {evaluation.predictions.classifier}, but "
            f"{classifier} is {mine}; evaluate it again"
        )
    rows = read_json(corpus / "corpus.json", "corpus")["fingerprint"]
    if evaluation.predictions.corpus != rows:
        raise UserError(
            f"the evaluation is on corpus {evaluation.predictions.corpus}, but {corpus} is {rows}; "
            "evaluate on it again"
        )


class _Registrar:
    """One registration: the model's name and the three artifacts."""

    def __init__(
        self, client: MlflowClient, name: str, classifier: Path, evaluation: Path, corpus: Path
    ) -> None:
        self.client, self.name = client, name
        self.classifier, self.evaluation, self.corpus = classifier, evaluation, corpus

    def run(self, evaluation: Evaluation, config: RegisterConfig) -> Registration:
        run = self._training_run()
        version = self._version(run, evaluation)
        self._set_alias(CHALLENGER, version)
        result = self._judge(version, evaluation, config)
        self._tell(version, result)
        if result.passed:
            self._set_alias(CHAMPION, version)
        aliases = self.client.get_model_version(self.name, version.version).aliases
        return Registration(
            name=self.name,
            version=str(version.version),
            aliases=sorted(aliases),
            promoted=result.passed,
            reasons=result.reasons,
            model_uri=f"models:/{self.name}/{version.version}",
            run_id=run.info.run_id,
            parent_run_id=run.data.tags.get("mlflow.parentRunId"),
        )

    def _training_run(self) -> Run:
        """The classifier's run, with whatever earlier steps could not send."""
        for directory in (self.classifier, self.evaluation):
            if (directory / JOURNAL).exists():
                replay(directory / JOURNAL)
        if (self.classifier / JOURNAL).exists():
            head = read_journal(self.classifier / JOURNAL)[0]
        else:
            key = read_lineage(self.classifier).get("run_key")
            fingerprint = read_json(self.classifier / HEADER, "classifier")["fingerprint"]
            head = run_entry(key or fingerprint, f"{self.name} {fingerprint}")
        return open_run(self.client, head)[0]

    def _version(self, run: Run, evaluation: Evaluation) -> ModelVersion:
        corpus = evaluation.predictions.corpus
        tags = version_tags(self.classifier, corpus) | {"llmclf.run": run.info.run_id}
        own = read_lineage(self.classifier).get("corpus") in (None, corpus)
        if own:
            keep_learnt(self.client, run.info.run_id, tags[CLASSIFIER_TAG], self.corpus)
        found = self._registered(tags[CLASSIFIER_TAG], corpus)
        if found is not None:
            log.info("%s version %s is this classifier already", self.name, found.version)
            return found
        if own:  # else there may be rows among them that it has learnt from
            keep_predictions(self.client, run.info.run_id, evaluation.predictions)
        model = log_model(self.client, run, self.name, self.classifier, tags)
        return self.client.create_model_version(
            self.name,
            source=f"models:/{model.model_id}",
            run_id=run.info.run_id,
            model_id=model.model_id,
            tags=tags | _metric_tags(evaluation.metrics) | cost_tags(evaluation),
        )

    def _registered(self, classifier: str, corpus: str) -> ModelVersion | None:
        try:
            self.client.create_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        versions = self.client.search_model_versions(f"name = '{self.name}'")
        wanted = {CLASSIFIER_TAG: classifier, "llmclf.corpus": corpus}
        same = [v for v in versions if wanted.items() <= v.tags.items()]
        return min(same, key=lambda v: int(v.version), default=None)

    def _judge(
        self, version: ModelVersion, evaluation: Evaluation, config: RegisterConfig
    ) -> GateResult:
        champion = self._champion(version, config)
        seconds = evaluation.seconds_for(config.texts)
        return judge(evaluation.metrics, config, evaluation.predictions, champion, seconds)

    def _champion(self, version: ModelVersion, config: RegisterConfig) -> Champion | None:
        number = self.client.get_registered_model(self.name).aliases.get(CHAMPION)
        if number is None:
            return None
        if str(number) == str(version.version):
            return Champion(str(number), itself=True)
        present = self.client.get_model_version(self.name, number)
        return champion_on(self.client, present, self.corpus, config.texts)

    def _tell(self, version: ModelVersion, result: GateResult) -> None:
        verdict = "passed" if result.passed else "refused"
        reasons = "; ".join(result.reasons)[:_TAG_CHARS]
        for key, value in ((GATE_TAG, verdict), (REASONS_TAG, reasons)):
            self.client.set_model_version_tag(self.name, version.version, key, value)
        log.info("%s version %s: gate %s: %s", self.name, version.version, verdict, reasons)

    def _set_alias(self, alias: str, version: ModelVersion) -> None:
        self.client.set_registered_model_alias(self.name, alias, version.version)


def _metric_tags(metrics: Mapping[str, float]) -> dict[str, str]:
    return {f"metric.{name}": f"{value:.6g}" for name, value in metrics.items()}
