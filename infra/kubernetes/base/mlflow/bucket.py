"""The bucket of MLflow's artifacts: where it is, and making it. Called by prepare.py."""

import os
import sys
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError

ENDPOINT, DESTINATION = "MLFLOW_S3_ENDPOINT_URL", "MLFLOW_ARTIFACTS_DESTINATION"


def check_endpoint() -> None:
    """End with a message unless the S3 endpoint is an address: MLflow fails at each upload."""
    endpoint = os.environ.get(ENDPOINT, "")
    if not endpoint.startswith(("http://", "https://")):
        sys.exit(
            f"{ENDPOINT} is {endpoint!r}: set it to the address of your S3, in stores.env of the "
            "overlay; for AWS to https://s3.REGION.amazonaws.com, and AWS_DEFAULT_REGION to REGION"
        )


def make_bucket() -> None:
    """Create the bucket where it is missing; any other answer than 404 is an error."""
    bucket = os.environ[DESTINATION].removeprefix("s3://").partition("/")[0]
    client = boto3.client("s3", endpoint_url=os.environ[ENDPOINT])
    try:
        if not is_there(client, bucket):
            client.create_bucket(Bucket=bucket, **location(client))
            print(f"created the bucket {bucket}")
    except (ClientError, BotoCoreError) as error:
        sys.exit(f"the bucket {bucket} cannot be used: {error}")


def is_there(client: Any, bucket: str) -> bool:
    """Whether the bucket exists and the key may use it."""
    try:
        client.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
            raise
        return False
    return True


def location(client: Any) -> dict[str, Any]:
    """AWS wants to be told any region but its first, and only so; other servers refuse to be."""
    region = client.meta.region_name
    host = urlsplit(client.meta.endpoint_url).hostname or ""
    if region == "us-east-1" or ".amazonaws.com" not in host:
        return {}
    return {"CreateBucketConfiguration": {"LocationConstraint": region}}
