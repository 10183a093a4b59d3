"""Tests of the parts of a provider's request that go to the service of notifications."""

from __future__ import annotations

from typing import Any

import pytest
from werkzeug.test import EnvironBuilder

from gateway.noc.api.callbacks import MAX_FORM_BYTES, MAX_HEADER_LENGTH, signed_request
from services.contracts.errors import Refused, TooLarge


def asked(**options: Any) -> dict[str, Any]:
    return signed_request(EnvironBuilder(method="POST", **options).get_request())


def test_a_form_comes_as_fields_each_once() -> None:
    found = asked(
        path="/x/y", query_string="a=b", data={"From": "+91", "Body": ["first", "second"], "Empty": ""}
    )
    assert found == {
        "path": "/x/y?a=b",
        "params": {"From": "+91", "Body": "first", "Empty": ""},
        "body": "",
        "headers": {},
    }


def test_another_body_comes_as_it_is() -> None:
    for content_type in ("application/json", "text/plain"):
        found = asked(path="/x", data='{"a": "ü"}'.encode(), content_type=content_type)
        assert (found["params"], found["body"]) == ({}, '{"a": "ü"}')
    with pytest.raises(Refused, match="not text in UTF-8"):
        asked(path="/x", data=b"\xff", content_type="application/json")


def test_headers_about_the_signature_go_along_and_no_others() -> None:
    headers = {
        "X-Twilio-Signature": "s" * 5000,
        "X-Plivo-Signature-V2-Nonce": "n",
        "Authorization": "Bearer t",
        "Telnyx-Timestamp": "1",
        "Cookie": "session",
        "X-Forwarded-For": "10.0.0.1",
    }
    found = asked(path="/x", headers=headers)["headers"]
    assert found.keys() == {
        "x-twilio-signature",
        "x-plivo-signature-v2-nonce",
        "authorization",
        "telnyx-timestamp",
    }
    assert len(found["x-twilio-signature"]) == MAX_HEADER_LENGTH


def test_a_body_that_is_too_large_or_no_form_is_refused() -> None:
    with pytest.raises(TooLarge):
        asked(path="/x", data=b"a=" + b"x" * MAX_FORM_BYTES)
    with pytest.raises(Refused, match="not a form"):
        asked(path="/x", data="&".join(f"a{n}=1" for n in range(201)).encode())
