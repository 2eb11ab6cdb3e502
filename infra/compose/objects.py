"""Create a bucket, save its objects to a tar stream, or load them from one.

``python objects.py BUCKET create | save >TAR | load <TAR``; keys and endpoint come from the
environment (``AWS_*``, ``MLFLOW_S3_ENDPOINT_URL``).
"""

import os
import sys
import tarfile
from types import SimpleNamespace
from typing import Any, BinaryIO

import boto3
from botocore.config import Config

EVERY = 100  # objects between two lines of progress


def client() -> Any:
    """S3 by path, so that no bucket needs a host name of its own."""
    config = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 8})
    return boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"], config=config)


def create(s3: Any, bucket: str) -> None:
    """Make the bucket unless it is there."""
    if bucket not in {known["Name"] for known in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=bucket)
    print(f"bucket {bucket} is there", file=sys.stderr)


def save(s3: Any, bucket: str, output: BinaryIO) -> None:
    """Stream all objects, one after the other."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    with tarfile.open(fileobj=output, mode="w|") as tar:
        for done, key in enumerate(keys, 1):
            found = s3.get_object(Bucket=bucket, Key=key)
            member = tarfile.TarInfo(key)
            member.size, member.mtime = found["ContentLength"], found["LastModified"].timestamp()
            tar.addfile(member, found["Body"])
            _progress("saved", done, len(keys))


def load(s3: Any, bucket: str, source: BinaryIO) -> None:
    """Put all objects of a stream back; others in the bucket stay."""
    create(s3, bucket)
    done = 0
    with tarfile.open(fileobj=source, mode="r|") as tar:
        for member in tar:
            # boto3 asks a file whether it can seek, which a streamed one does not know.
            body = SimpleNamespace(read=tar.extractfile(member).read)
            s3.upload_fileobj(body, bucket, member.name)
            done += 1
            _progress("loaded", done)
    print(f"loaded {done} objects", file=sys.stderr)


def _progress(what: str, done: int, total: int | None = None) -> None:
    if done % EVERY == 0 or done == total:
        print(f"{what} {done}{f' of {total}' if total else ''} objects", file=sys.stderr)


def main(bucket: str, action: str) -> None:
    """Do one of the three."""
    if action == "save":
        save(client(), bucket, sys.stdout.buffer)
    elif action == "load":
        load(client(), bucket, sys.stdin.buffer)
    elif action == "create":
        create(client(), bucket)
    else:
        sys.exit(f"error: {action}: create, save or load")


if __name__ == "__main__":
    main(*sys.argv[1:])
