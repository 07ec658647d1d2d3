from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.redact import HIDDEN, Redactor

ENVIRONMENT = {
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG",
    "AWS_SESSION_TOKEN": "FwoGZXIvYXdzEJr//////////wEaD",
    "WANDB_API_KEY": "0123456789abcdef",
    "DB_PASSWORD": "short",
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "HOME": "/home/someone",
    "TOKENIZERS_PARALLELISM": "false-false",
}
REDACTOR = Redactor(ENVIRONMENT)


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "WANDB_API_KEY"])
def test_a_secret_of_the_environment_appears_nowhere(name: str) -> None:
    told = REDACTOR.value({"text": f"signed with {ENVIRONMENT[name]}!", "lines": [ENVIRONMENT[name]], "code": 1})
    assert told == {"text": f"signed with {HIDDEN}!", "lines": [HIDDEN], "code": 1}


@pytest.mark.parametrize("name", ["DB_PASSWORD", "AWS_ACCESS_KEY_ID", "HOME", "TOKENIZERS_PARALLELISM"])
def test_ordinary_values_stay(name: str) -> None:
    text = f"see {ENVIRONMENT[name]} there"
    assert REDACTOR.text(text) == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("http://user:pa55@host:9000/x failed", f"http://{HIDDEN}@host:9000/x failed"),
        ("GET https://host/a?X-Amz-Signature=abc123&b=1", f"GET https://host/a?X-Amz-Signature={HIDDEN}&b=1"),
        ("X-Amz-Security-Token=abc/def ok", f"X-Amz-Security-Token={HIDDEN} ok"),
        ("epoch 3 of 10, loss=0.5, tokens=512", "epoch 3 of 10, loss=0.5, tokens=512"),
        ("s3://bucket/prefix@5", "s3://bucket/prefix@5"),
    ],
)
def test_secrets_are_known_by_their_form(text: str, told: str) -> None:
    assert REDACTOR.text(text) == told


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["train.py", "--api-key", "abc", "--epochs", "3"], ["train.py", "--api-key", HIDDEN, "--epochs", "3"]),
        (["train.py", "--password=abc", "x"], ["train.py", f"--password={HIDDEN}", "x"]),
        (["env", "HF_TOKEN=abc", "python", "a.py"], ["env", f"HF_TOKEN={HIDDEN}", "python", "a.py"]),
        (["train.py", "--token", "--verbose"], ["train.py", "--token", "--verbose"]),
        (["train.py", "--max-tokens", "512", "--tokenizer", "bpe"],) * 2,
        (["train.py", "--token-file", "/run/secret.txt"],) * 2,
    ],
)
def test_a_command_line_is_told_without_its_secrets(command: list[str], told: list[str]) -> None:
    assert Redactor({}).words(command) == told


@given(st.text(min_size=8, max_size=40), st.text(), st.text())
def test_no_secret_survives_wherever_it_stands(secret: str, before: str, after: str) -> None:
    told = Redactor({"MY_SECRET": secret}).text(before + secret + after)
    assert secret not in told or secret in before + HIDDEN + after or secret in HIDDEN * 9
