"""Imports what a step or the command may need, in the process that they are forked from."""

from importlib import import_module

from tqdm import tqdm

for name in (
    "accelerate",
    "alembic.command",
    "alembic.context",
    "cryptography.x509",
    "email.policy",
    "kfp.dsl.executor_main",
    "llmclf_core.corpus.ingest",
    "llmclf_core.registry.register",
    "llmclf_core.steps.attempt",
    "llmclf_core.steps.compare",
    "llmclf_core.steps.evaluate",
    "llmclf_core.steps.finetune_encoder",
    "llmclf_core.steps.finetune_head",
    "llmclf_core.steps.finetune_instruct",
    "llmclf_core.steps.finish",
    "llmclf_core.steps.fit_probe",
    "llmclf_core.steps.fit_tfidf",
    "llmclf_core.steps.pages",
    "llmclf_core.steps.titles",
    "llmclf_core.tokens.tokenize",
    "mlflow.pyfunc",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "pipelines.local",
    "sklearn.linear_model",
    "tabulate",
    "tests.forks",
    "transformers.models.bert.modeling_bert",
    "transformers.models.llama.modeling_llama",
):
    import_module(name)

tqdm.get_lock()  # it makes a semaphore, of which one for all forks is enough
