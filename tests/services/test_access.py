"""Who is let in: MLflow asks for a password everywhere, S3 for a key, PostgreSQL for its own."""

import psycopg2
import pytest
import requests
from botocore import UNSIGNED
from botocore.exceptions import ClientError
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from llmclf_core.registry.client import short_reason
from tests.pipelines.conftest import Task
from tests.services.conftest import add_user, as_user, set_environment
from tests.services.pipelines import BUCKET, s3_client
from tests.services.stack import ORIGIN

WRONG = {
    "nobody": {},
    "wrong password": {"MLFLOW_TRACKING_USERNAME": "worker", "MLFLOW_TRACKING_PASSWORD": "x" * 20},
    "empty password": {"MLFLOW_TRACKING_USERNAME": "worker", "MLFLOW_TRACKING_PASSWORD": ""},
    "the former default": {
        "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": "password1234",
    },
}
PATHS = [
    "GET /",
    "GET /api/2.0/mlflow/experiments/search?max_results=1",
    "GET /ajax-api/2.0/mlflow/experiments/search?max_results=1",
    "GET /api/2.0/mlflow-artifacts/artifacts?path=",
    "GET /api/2.0/mlflow-artifacts/artifacts/x/y",
    "PUT /api/2.0/mlflow-artifacts/artifacts/x/y",
    "GET /ajax-api/2.0/mlflow-artifacts/artifacts/x/y",
    "PUT /ajax-api/2.0/mlflow-artifacts/artifacts/x/y",
    "GET /api/2.0/mlflow/registered-models/search",
    "GET /api/2.0/mlflow/users/list",
]


@pytest.fixture
def as_wrong(stack, monkeypatch):
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", stack.uri)
    return lambda who: set_environment(monkeypatch, WRONG[who])


@pytest.mark.parametrize("who", WRONG)
def test_mlflow_refuses_a_client(stack, worker, as_wrong, who):
    as_wrong(who)
    with pytest.raises(MlflowException, match=r"401|not authenticated|Unauthorized"):
        MlflowClient(stack.uri).create_experiment(f"of {who}")
    assert stack.sql("SELECT name FROM experiments WHERE name = %s", f"of {who}") == []


@pytest.mark.parametrize("path", PATHS)
def test_no_page_answers_without_a_password(stack, path):
    method, path = path.split(" ")
    assert requests.request(method, stack.uri + path, data=b"x", timeout=60).status_code == 401


def test_health_is_open_and_tells_nothing(stack):
    answer = requests.get(f"{stack.uri}/health", timeout=60)
    assert (answer.status_code, answer.text) == (200, "OK")


@pytest.mark.parametrize("api", ["api", "ajax-api"])
def test_server_info_is_open_and_tells_what_the_server_can_do(stack, api):
    """Clients ask it before they log in; names and addresses would not belong there."""
    answer = requests.get(f"{stack.uri}/{api}/3.0/mlflow/server-info", timeout=60)
    assert answer.status_code == 200
    told = answer.json()
    told |= told.pop("features_enabled", {})
    texts = {name: value for name, value in told.items() if not isinstance(value, bool)}
    assert texts == {"store_type": "SqlStore"}


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://localhost:5000", 200), (ORIGIN, 200), ("https://evil.example", 403)],
)
def test_a_page_of_another_address_changes_nothing(stack, worker, origin, status):
    answer = requests.post(
        f"{stack.uri}/ajax-api/2.0/mlflow/experiments/search",
        json={"max_results": 1},
        auth=(worker["MLFLOW_TRACKING_USERNAME"], worker["MLFLOW_TRACKING_PASSWORD"]),
        headers={"Origin": origin},
        timeout=60,
    )
    assert answer.status_code == status


def test_a_foreign_host_name_is_refused(stack):
    """Against DNS rebinding: a page that a browser shows cannot speak for its user."""
    answer = requests.get(stack.uri, headers={"Host": "evil.example"}, timeout=60)
    assert answer.status_code == 403


def test_the_command_says_so_in_one_line(stack, worker, tmp_path):
    wrong = as_user(stack, "worker", "not-the-password")
    done = Task(tmp_path, {}).llmclf("predict", "x", "--model", "models:/none@champion", **wrong)
    assert done.returncode == 2
    assert done.stderr.count("\n") <= 4
    assert "error: " in done.stderr
    assert "does not accept this user name and password" in " ".join(done.stderr.split())
    assert "Correct MLFLOW_TRACKING_USERNAME" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert "not-the-password" not in done.stdout + done.stderr


def test_another_user_reads_but_changes_nothing(stack, client, monkeypatch):
    experiment = client.create_experiment("the worker's own")
    run = client.create_run(experiment)
    set_environment(monkeypatch, add_user(stack, "reader"))
    reader = MlflowClient(stack.uri)
    assert reader.get_run(run.info.run_id).info.status == "RUNNING"
    for change in (
        lambda: reader.log_metric(run.info.run_id, "f1", 1.0),
        lambda: reader.create_run(experiment),
        lambda: reader.delete_run(run.info.run_id),
    ):
        with pytest.raises(MlflowException, match=r"Permission denied|PERMISSION_DENIED|403") as no:
            change()
        assert "PERMISSION_DENIED" in short_reason(no.value)
    assert stack.sql("SELECT count(*) FROM metrics WHERE run_uuid = %s", run.info.run_id) == [(0,)]


@pytest.mark.parametrize("keys", ["wrong secret", "unknown key", "no key"])
def test_s3_refuses_a_wrong_key(stack, keys):
    s3_client(stack).put_object(Bucket=BUCKET, Key="access/kept", Body=b"kept")
    s3 = {
        "wrong secret": lambda: s3_client(stack, secret_key="w" * 48),
        "unknown key": lambda: s3_client(stack, access_key="w" * 20),
        "no key": lambda: s3_client(stack, signature_version=UNSIGNED),
    }[keys]()
    for attempt in (
        lambda: s3.list_objects_v2(Bucket=BUCKET),
        lambda: s3.get_object(Bucket=BUCKET, Key="access/kept"),
        lambda: s3.put_object(Bucket=BUCKET, Key="access/kept", Body=b"changed"),
        lambda: s3.delete_object(Bucket=BUCKET, Key="access/kept"),
    ):
        with pytest.raises(ClientError) as caught:
            attempt()
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert s3_client(stack).get_object(Bucket=BUCKET, Key="access/kept")["Body"].read() == b"kept"


def test_postgres_refuses_a_wrong_password(stack):
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        stack.connect(password="w" * 48)
