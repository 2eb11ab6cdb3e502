"""What the pods run, run: their commands and environments as processes of this machine.

Addresses, directories and the container itself are all that differs from the cluster.
"""

from __future__ import annotations

import base64
import subprocess

import psutil
import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.server.auth.client import AuthServiceClient
from werkzeug.security import check_password_hash

from tests.infra.manifests import named, objects, of_kind, pod, stores_of
from tests.services.conftest import as_user, set_environment
from tests.services.stack import Stack, credentials, resolved

RENDERED = "small"


def environment(found, container):
    """A container's environment, with the values of ConfigMaps and Secrets."""
    values = dict(stores_of(found)) if "envFrom" in container else {}
    for entry in container.get("env", []):
        values[entry["name"]] = entry["value"] if "value" in entry else secret(found, entry)
    return values


def secret(found, entry):
    reference = entry["valueFrom"]["secretKeyRef"]
    data = named(found, "Secret", reference["name"])["data"]
    return base64.b64decode(data[reference["key"]]).decode()


def services(found, folder):
    """The pods in the form that :class:`Stack` starts."""
    server = pod(named(found, "Deployment", "llmclf-mlflow"))
    chosen = {"bucket": server["initContainers"][0], "mlflow": server["containers"][0]}
    for name, workload in (("postgres", "llmclf-postgres"), ("s3", "llmclf-objects")):
        chosen[name] = pod(named(found, "StatefulSet", workload))["containers"][0]
    config = next(v["configMap"]["name"] for v in server["volumes"] if v["name"] == "config")
    mounts = []
    for name, text in named(found, "ConfigMap", config)["data"].items():
        (folder / name).write_text(text)
        mounts.append({"target": f"/etc/mlflow/{name}", "source": str(folder / name)})
    return {
        name: {
            "entrypoint": container.get("command"),
            "command": container.get("args", ["postgres"] if name == "postgres" else []),
            "environment": environment(found, container),
            "volumes": mounts,
        }
        for name, container in chosen.items()
    }


class Pods(Stack):
    """The rendered pods as processes."""

    def __init__(self, root):
        super().__init__(root)
        self.compose = services(objects(RENDERED), root)
        prepare = self.compose["bucket"]["environment"]
        self.secrets = {
            "LLMCLF_POSTGRES_PASSWORD": prepare["PGPASSWORD"],
            "admin": prepare["MLFLOW_AUTH_ADMIN_PASSWORD"],
            "steps": prepare["STEPS_PASSWORD"],
            "signing": prepare["MLFLOW_FLASK_SERVER_SECRET_KEY"],
            "s3": prepare["AWS_SECRET_ACCESS_KEY"],
        }

    def prepare(self, log, **changes):
        """The init container, once more."""
        with log.open("w") as output:
            return subprocess.Popen(
                self.command("bucket"),
                env=self.environment("bucket") | changes,
                stdout=output,
                stderr=output,
            )


@pytest.fixture(scope="module")
def pods(tmp_path_factory):
    running = Pods(tmp_path_factory.mktemp("pods"))
    try:
        yield running.start()
    finally:
        running.close()


@pytest.fixture
def steps(pods, monkeypatch):
    """A client with the account of pipeline steps."""
    set_environment(monkeypatch, as_user(pods, "llmclf", pods.secrets["steps"]))
    return MlflowClient(pods.uri)


def test_steps_log_and_register(pods, steps, tmp_path):
    (tmp_path / "file.txt").write_text("content")
    run = steps.create_run(steps.create_experiment("task"))
    steps.log_metric(run.info.run_id, "f1", 0.5)
    steps.log_artifact(run.info.run_id, str(tmp_path / "file.txt"))
    steps.create_registered_model("task")
    version = steps.create_model_version("task", f"runs:/{run.info.run_id}/", run.info.run_id)
    steps.set_registered_model_alias("task", "champion", version.version)
    assert pods.sql("select value from metrics where key = 'f1'") == [(0.5,)]
    assert steps.download_artifacts(run.info.run_id, "file.txt", str(tmp_path / ".."))


def test_steps_are_no_administrator(pods, steps):
    with pytest.raises(MlflowException, match=r"(?i)permission|403"):
        AuthServiceClient(pods.uri).create_user("eve", "a-long-password-1")
    assert pods.sql("select username, is_admin from users order by 1") == [
        ("admin", True),
        ("llmclf", False),
    ]


def _ask(pods, who, **headers):
    """The status of a question that needs an account."""
    search = f"{pods.uri}/api/2.0/mlflow/experiments/search?max_results=1"
    return requests.get(search, auth=who, headers=headers, timeout=30).status_code


def test_strangers_are_refused(pods):
    for who in (None, ("admin", "password1234"), ("llmclf", pods.secrets["admin"])):
        assert _ask(pods, who) == 401
    assert _ask(pods, ("admin", pods.secrets["admin"])) == 200


def test_names_that_the_server_answers_to(pods):
    admin = ("admin", pods.secrets["admin"])
    for host in ("llmclf-mlflow:5000", "llmclf-mlflow.kubeflow.svc:5000"):
        assert _ask(pods, admin, Host=host) == 200
    assert _ask(pods, admin, Host="rebound.example.com") == 403
    probe = requests.get(f"{pods.uri}/health", headers={"Host": "10.1.2.3:5000"}, timeout=30)
    assert probe.text == "OK"


def test_s3_alone_listens_beyond_loopback(pods):
    """Its gRPC port does, too; the network policy keeps that one in."""
    process = psutil.Process(pods.running["s3"].pid)
    sockets = [c.laddr for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    local = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    beyond = {socket.port for socket in sockets if socket.ip not in local}
    assert beyond == {pods.weed_ports["s3"], pods.weed_ports["s3.grpc"]}


def test_no_process_or_log_shows_a_secret(pods):
    shown = "".join(log.read_text() for log in pods.logs.iterdir())
    for service in pods.running.values():
        tree = [psutil.Process(service.pid), *psutil.Process(service.pid).children(recursive=True)]
        shown += "".join(" ".join(process.cmdline()) for process in tree)
    assert "postgresql" in shown
    for name, value in pods.secrets.items():
        assert value not in shown, name


def test_two_replicas_prepare_a_new_database_at_once(pods, tmp_path):
    pods.local("createdb", "-U", "mlflow", "other")
    fresh = {"PGDATABASE": "other", "MLFLOW_ARTIFACTS_DESTINATION": "s3://other/below"}
    logs = [tmp_path / "one.log", tmp_path / "two.log"]
    for process, log in [(pods.prepare(log, **fresh), log) for log in logs]:
        assert process.wait(400) == 0, log.read_text()
    both = "".join(log.read_text() for log in logs)
    for once in ("created the account admin", "created the account llmclf", "created the bucket"):
        assert both.count(once) == 1
    heads = pods.sql("select version_num from alembic_version", database="other")
    assert heads == pods.sql("select version_num from alembic_version")


def test_an_empty_endpoint_ends_before_anything_is_done(pods, tmp_path):
    log = tmp_path / "prepare.log"
    assert pods.prepare(log, MLFLOW_S3_ENDPOINT_URL="").wait(400) == 1
    assert "MLFLOW_S3_ENDPOINT_URL is '': set it to the address" in log.read_text()
    assert "alembic" not in log.read_text()  # the tables' upgrade


def test_a_new_password_in_the_secret_takes_effect(pods, tmp_path):
    log = tmp_path / "prepare.log"
    new = {"STEPS_PASSWORD": "another-password-of-steps", "AWS_SECRET_ACCESS_KEY": "no"}
    assert pods.prepare(log, **new).wait(400) == 1
    assert "changed the password of the account llmclf" in log.read_text()
    assert "the bucket llmclf cannot be used" in log.read_text()  # a wrong key is refused
    assert _ask(pods, ("llmclf", new["STEPS_PASSWORD"])) == 200
    # The running server remembers the old one for a minute; the rollout replaces it.
    ((stored,),) = pods.sql("select password_hash from users where username = 'llmclf'")
    assert not check_password_hash(stored, pods.secrets["steps"])


def test_the_compose_file_starts_the_same(tmp_path):
    credentials(tmp_path / ".env")
    composed, found = resolved(tmp_path / ".env"), objects("gpu")
    ours = services(found, tmp_path)
    assert ours["s3"]["entrypoint"] == composed["s3"]["entrypoint"]
    assert ours["s3"]["command"] == composed["s3"]["command"]
    stores = stores_of(found)
    ours["mlflow"]["command"] += [
        f"--backend-store-uri=postgresql+psycopg2:///{stores['PGDATABASE']}",
        f"--artifacts-destination={stores['MLFLOW_ARTIFACTS_DESTINATION']}",
    ]
    assert ours["mlflow"]["entrypoint"] == composed["mlflow"]["entrypoint"]
    assert sorted(ours["mlflow"]["command"]) == sorted(composed["mlflow"]["command"])
    image = {name: service["image"] for name, service in composed.items()}
    workloads = of_kind(found, "StatefulSet", "Deployment")
    images = {pod(workload)["containers"][0]["image"] for workload in workloads}
    assert images == {image["mlflow"], image["postgres"], image["s3"]}
    kept = ("POSTGRES_INITDB_ARGS", "POSTGRES_USER", "POSTGRES_DB")
    for name in kept:
        assert ours["postgres"]["environment"][name] == composed["postgres"]["environment"][name]
    for name in ("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "MLFLOW_DISABLE_TELEMETRY"):
        assert ours["mlflow"]["environment"][name] == composed["mlflow"]["environment"][name]
