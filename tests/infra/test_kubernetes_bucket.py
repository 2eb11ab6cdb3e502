"""Making the bucket, as AWS wants it: checked against AWS's own description of its interface."""

from __future__ import annotations

import importlib.util

import boto3
import pytest
from botocore.stub import Stubber

from tests.infra.manifests import SOURCE, objects, stores_of

AWS = "https://s3.eu-central-1.amazonaws.com"
TOLD = {"CreateBucketConfiguration": {"LocationConstraint": "eu-central-1"}}


@pytest.fixture(scope="module")
def bucket():
    spec = importlib.util.spec_from_file_location("bucket", SOURCE / "base/mlflow/bucket.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def s3(bucket, monkeypatch):
    """Makes a client of an endpoint in a region, that answers what the test says."""

    def make(endpoint, region):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "any")
        monkeypatch.setenv("AWS_DEFAULT_REGION", region)
        monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", endpoint)
        monkeypatch.setenv("MLFLOW_ARTIFACTS_DESTINATION", "s3://models/below")
        client = boto3.client("s3", endpoint_url=endpoint)
        monkeypatch.setattr(bucket.boto3, "client", lambda *_, **__: client)
        return Stubber(client)

    return make


@pytest.mark.parametrize(
    ("endpoint", "region", "told"),
    [
        (AWS, "eu-central-1", TOLD),
        ("https://s3.us-east-1.amazonaws.com", "us-east-1", {}),
        ("https://s3.example.com", "eu-central-1", {}),
    ],
)
def test_a_missing_bucket_is_made_in_its_region(bucket, s3, endpoint, region, told, capsys):
    with s3(endpoint, region) as answers:
        answers.add_client_error("head_bucket", "404")
        answers.add_response("create_bucket", {}, {"Bucket": "models"} | told)
        bucket.make_bucket()
        answers.assert_no_pending_responses()
    assert capsys.readouterr().out == "created the bucket models\n"


def test_a_bucket_that_is_there_stays(bucket, s3):
    with s3(AWS, "eu-central-1") as answers:
        answers.add_response("head_bucket", {})
        bucket.make_bucket()


@pytest.mark.parametrize("code", ["AccessDenied", "BucketAlreadyExists"])
def test_a_bucket_that_cannot_be_made_is_told(bucket, s3, code):
    with s3(AWS, "eu-central-1") as answers:
        answers.add_client_error("head_bucket", "404")
        answers.add_client_error("create_bucket", code)
        with pytest.raises(SystemExit) as ended:
            bucket.make_bucket()
    assert f"the bucket models cannot be used: An error occurred ({code})" in ended.value.code


@pytest.mark.parametrize("endpoint", ["", "s3.example.com"])
def test_an_endpoint_that_is_none_is_told(bucket, monkeypatch, endpoint):
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", endpoint)
    with pytest.raises(SystemExit, match=r"stores\.env .* https://s3\.REGION\.amazonaws\.com"):
        bucket.check_endpoint()


@pytest.mark.parametrize("overlay", ["small", "external"])
def test_the_overlays_name_one(bucket, monkeypatch, overlay):
    endpoint = stores_of(objects(overlay))["MLFLOW_S3_ENDPOINT_URL"]
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", endpoint)
    bucket.check_endpoint()
