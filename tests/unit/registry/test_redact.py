import time

import pytest

from llmclf_core.registry.redact import redact

SECRET = "hunter2secret"


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql+psycopg2://me:{SECRET}@db:5432/x",
        f"http://{SECRET}@host/path",
        f"postgresql://me:p@ss@{SECRET}@db:5432/x",
        f"https://h/x?token={SECRET}&a=b",
        f"AWS_SECRET_ACCESS_KEY={SECRET}",
        f"X-Amz-Signature={SECRET}",
        f"password = {SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"two http://a:{SECRET}@h and s3://k:{SECRET}@b",
    ],
)
def test_secrets_are_blotted_out(text):
    assert SECRET not in redact(text)
    assert "***" in redact(text)


@pytest.mark.parametrize(
    "text", ["http://host:80/a@b", "max_tokens", "me@example.org", "C:/x", "lr=0.1", "basic idea"]
)
def test_plain_text_stays(text):
    assert redact(text) == text


def test_long_texts_take_no_time():
    began = time.monotonic()
    for text in ("x" * 200_000, "a://" * 50_000, "token " * 30_000, "basic " * 30_000):
        assert redact(text) == text
    assert time.monotonic() - began < 5
