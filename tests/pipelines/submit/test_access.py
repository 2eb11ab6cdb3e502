"""`llmclf submit` and who may: credentials, namespaces, certificates, mistakes. Against a stand-in
of Kubeflow's API on loopback; no Kubeflow was run."""

import datetime
import ipaddress
import logging
import socket

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from llmclf_core.config import parse_recipe
from tests.pipelines.kfp_stand_in import Kubeflow, serve
from tests.pipelines.submit.conftest import RECIPE
from tests.pipelines.submit.helpers import look, only, refused, submit, submitted

# Who is asking


def test_a_token_comes_from_the_environment_or_a_file(task, kubeflow):
    kubeflow.token = "tok-123"
    assert "credentials are needed (401)" in refused(task, kubeflow)
    message = refused(task, kubeflow, LLMCLF_KFP_TOKEN="tok-wrong")
    assert "the credentials are refused or expired (401)" in message
    assert "tok-" not in message
    done = submitted(task, kubeflow, LLMCLF_KFP_TOKEN="tok-123")
    (task.root / "token").write_text("tok-123\n")
    more = submitted(task, kubeflow, "--token-file", "token")
    assert "tok-123" not in done.stdout + done.stderr + more.stdout + more.stderr
    assert len(kubeflow.runs) == 2


def test_a_secret_of_several_lines_is_refused(task, kubeflow):
    (task.root / "cookie").write_text("a=b\nX-Other: c")
    message = refused(task, kubeflow, "--cookie-file", "cookie")
    assert "the cookie file cookie has to hold one line of plain characters" in message
    assert "LLMCLF_KFP_TOKEN has to hold" in refused(task, kubeflow, LLMCLF_KFP_TOKEN="\u20ac")
    assert kubeflow.seen == []


def test_no_option_takes_a_token_itself(task, kubeflow):
    done = submit(task, kubeflow, "--token", "tok-123")
    assert done.returncode == 2
    assert "No such option" in done.stderr


def test_in_a_cluster_the_token_is_read_again_when_it_is_rotated(task, kubeflow):
    file = task.root / "projected"
    file.write_text("first")
    kubeflow.token = "first"

    def rotate():
        kubeflow.token = f"next-{len(kubeflow.seen)}"
        file.write_text(kubeflow.token)

    kubeflow.on_look = rotate
    kubeflow.stories = [look("RUNNING"), look("RUNNING"), look("SUCCEEDED")]
    submitted(task, kubeflow, "--in-cluster", "--wait", KF_PIPELINES_SA_TOKEN_PATH=str(file))
    assert kubeflow.token != "first"


def test_a_cookie_and_the_login_page_without_one(task, kubeflow):
    kubeflow.cookie = "oauth2_proxy_kubeflow=abc"
    assert "a web page answers in place of the API" in refused(task, kubeflow)
    submitted(task, kubeflow, LLMCLF_KFP_COOKIE=kubeflow.cookie)
    (task.root / "cookie").write_text(kubeflow.cookie + "\n")
    submitted(task, kubeflow, "--cookie-file", "cookie")
    assert len(kubeflow.runs) == 2


def test_namespaces_of_several_users(task):
    with serve(Kubeflow(namespaces=("anna",), base="/pipeline")) as kubeflow:
        assert "name your profile's namespace with --namespace" in refused(task, kubeflow)
        message = refused(task, kubeflow, "--namespace", "bert")
        assert "you may not use the namespace bert, or there is none of that name" in message
        submitted(task, kubeflow, "--namespace", "anna")
        assert only(kubeflow.experiments)["namespace"] == "anna"


def test_a_single_user_server_is_not_asked_for_a_namespace(task, kubeflow):
    done = submitted(task, kubeflow, "--namespace", "anna")
    assert "--namespace is not used" in done.stderr


@pytest.fixture
def certificate(tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, key_format = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    text = made.public_bytes(pem)
    (tmp_path / "ca.pem").write_bytes(text)
    secret = key.private_bytes(pem, key_format, serialization.NoEncryption())
    (tmp_path / "server.pem").write_bytes(text + secret)
    return tmp_path / "server.pem"


def test_the_certificate_is_checked(task, certificate):
    with serve(Kubeflow(), certificate) as kubeflow:
        message = refused(task, kubeflow)
        assert "its certificate is not trusted here; name its authority's PEM file" in message
        submitted(task, kubeflow, "--ca", "ca.pem")


# What is wrong with the server


def test_links_may_have_an_address_of_their_own(monkeypatch):
    from pipelines.kubeflow.connect import server

    inside = server("http://ml-pipeline-ui.kubeflow")
    monkeypatch.setenv("KF_PIPELINES_UI_ENDPOINT", "https://kubeflow.example/pipeline/")
    assert inside.link("runs", "7") == "https://kubeflow.example/pipeline/#/runs/details/7"


def test_nobody_there(task):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    message = refused(task, Kubeflow(url=f"http://127.0.0.1:{port}"))
    assert "cannot be reached (connection refused); check --host" in message


def test_an_api_of_another_version(task):
    with serve(Kubeflow(version="v1beta1")) as kubeflow:
        message = refused(task, kubeflow)
    assert "The API v2beta1 of Kubeflow Pipelines 2 is needed" in message


def test_a_server_that_hands_on_the_first_of_several_seeds_is_warned_about(task, kubeflow):
    kubeflow.release = "2.5.0"
    warned = "this is Kubeflow Pipelines 2.5, and before 2.14 not all seeds reach the comparison"
    assert warned in submitted(task, kubeflow, "--approach", "head").stderr


@pytest.mark.parametrize(
    ("health", "approach", "seeds", "warned"),
    [
        ('{"tag_name": "2.5.0"}', "head", [3, 4], True),
        ('{"apiServerTagName": "2.4.1", "frontendTagName": "2.15.0"}', "encoder", [3, 4], True),
        ('{"tag_name": "2.5.0"}', "head", [3], False),
        ('{"tag_name": "2.5.0"}', "tfidf", [3, 4], False),  # knows no seed
        ('{"tag_name": "2.14.0"}', "head", [3, 4], False),
        ('{"tag_name": "unknown"}', "head", [3, 4], False),
        ("{}", "head", [3, 4], False),
    ],
)
def test_who_is_warned_of_lists_that_are_cut(caplog, health, approach, seeds, warned):
    from pipelines.kubeflow.connect import _release
    from pipelines.submit import _warn_of_lists

    recipe = parse_recipe(RECIPE | {"approaches": [approach], "seeds": seeds}, {}, "test")
    _warn_of_lists(recipe, _release(health))
    assert bool(caplog.records) == warned


def test_what_the_server_refuses_is_said_in_its_words(task, kubeflow, monkeypatch):
    from pipelines import submit as module

    monkeypatch.setattr(module, "arguments", lambda recipe, **versions: {"speed": 3})
    message = refused(task, kubeflow)
    assert "refused (400 Bad Request: " in message
    assert "parameters that the pipeline does not have: ['speed']" in message


# What can be said before anybody is asked


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["submit", "--host", "h"], "give one recipe"),
        (["submit", "recipe.yaml", "--recipe", "recipe.yaml"], "give one recipe"),
        (["submit", "recipe.yaml"], "with --host, or set KF_PIPELINES_ENDPOINT"),
        (["submit", "recipe.yaml", "--host", "ftp://x"], "give an http:// or https:// address"),
        (["submit", "recipe.yaml", "--wait", "--schedule", "0 3 * * 1"], "--wait does not go"),
        (["submit", "recipe.yaml", "--replace"], "--replace goes with --schedule only"),
        (["submit", "recipe.yaml", "--timeout", "1"], "--timeout goes with --wait only"),
        (
            ["submit", "recipe.yaml", "--host", "h", "--token-file", "none"],
            "cannot read the token file none: No such file",
        ),
        (
            ["submit", "recipe.yaml", "--in-cluster"],
            "cannot read the token file /var/run/secrets/kubeflow/pipelines/token",
        ),
        (
            ["submit", "recipe.yaml", "--host", "h", "--ca", "none.pem"],
            "cannot read the certificate file none.pem",
        ),
        (["submit", "recipe.yaml", "--host", "h", "--schedule", "3 * *"], "there are 3"),
        (["submit", "recipe.yaml", "--host", "h", "--set", "x"], "section.setting=value"),
    ],
    ids=lambda v: " ".join(v[1:]) if isinstance(v, list) else None,
)
def test_a_mistake_is_one_message_and_exit_status_2(task, arguments, message):
    done = task.llmclf(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_what_only_this_machine_has_is_refused_before_anybody_is_asked(task, kubeflow):
    (task.root / "here").mkdir()
    task.recipe["ingest"] = {"source": {"train": "data.csv", "test": "~/test.csv"}}
    task.recipe["base"]["source"] = "here"
    task.recipe["approaches"] = ["head"]
    task.write()
    message = refused(task, kubeflow)
    for place in ("ingest.source.train: data.csv", "test: ~/test.csv", "base.source: here"):
        assert place in message
    assert "encoder" not in message
    assert "llmclf-cache" in message
    assert kubeflow.seen == []


def test_credentials_in_clear_are_warned_about(caplog):
    from pipelines.kubeflow.connect import Server, _warn_if_overheard

    with caplog.at_level(logging.WARNING):
        _warn_if_overheard(Server("http://ml-pipeline.kubeflow.svc:8888", token="t"))
        _warn_if_overheard(Server("https://kubeflow.example", token="t"))
        _warn_if_overheard(Server("http://kubeflow.example"))
        assert not caplog.records
        _warn_if_overheard(Server("http://kubeflow.example", cookie="c"))
    assert "in clear" in only(caplog.records).message
    assert "hidden" not in repr(Server("h", token="hidden", cookie="hidden"))
