"""Schemathesis on the OpenAPI document: no 5xx, and every answer is one that it describes."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

OPERATIONS = (
    ("POST", "/v1/recognize"),
    ("POST", "/v1/recognize/batch"),
    ("POST", "/v1/timeline"),
    ("GET", "/v1/models"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
)
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
EASY = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def document(crowded):
    return schemathesis.openapi.from_url(f"{crowded}/openapi.json")


def test_the_document_has_these_operations(document):
    found = {(one.ok().method.upper(), one.ok().path) for one in document.get_all_operations()}
    assert found == set(OPERATIONS)


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [
        *((method, path, "positive") for method, path in OPERATIONS),
        *((method, path, "negative") for method, path in OPERATIONS if method == "POST"),
    ],
)
def test_no_answer_is_a_surprise(document, method, path, mode):
    """Bodies that fit the schema and bodies that do not: the audio in them is never real."""
    operation = document[path][method]
    kind = schemathesis.GenerationMode(mode)
    cases = operation.as_strategy(generation_mode=kind)
    seen = []

    @EASY
    @given(case=cases)
    def ask(case):
        answer = case.call()
        seen.append(answer.status_code)
        assert answer.status_code < 500
        case.validate_response(
            answer,
            checks=[schemathesis.checks.CHECKS.get_one(name) for name in CHECKS],
        )

    ask()
    assert seen
