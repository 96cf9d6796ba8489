"""What the OpenAPI document promises is what the running gateway does, for requests made from the document itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.app import create_app
from gateway.settings import Settings
from tests.gateway.fake_serving import FakeServing
from tests.gateway.running import Gateway, running, settings_for

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]


@pytest.fixture(scope="module")
def documented(
    tmp_path_factory: pytest.TempPathFactory, serving: FakeServing, valkey_url: str, migrated: Path
) -> Iterator[Gateway]:
    home = tmp_path_factory.mktemp("documented")
    (home / "countersign.db").write_bytes(migrated.read_bytes())
    with running(settings_for(home, serving.url, valkey_url)) as found:
        for question in ("held [0.3]", "flagged [0.3]", "released [0.97]"):
            found.ask(question, "flagging" if "flagged" in question else "caller")
        yield found


schema = schemathesis.openapi.from_dict(create_app(Settings(home=Path("nowhere"))).openapi())


@schema.parametrize()
@settings(
    max_examples=4,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)
def test_gateway_does_what_its_document_says(case: Any, documented: Gateway) -> None:
    key = {"authorization": f"Bearer {documented.secrets['admin']}"}
    case.call_and_validate(base_url=documented.url, headers=key, checks=CHECKS, timeout=20)
