"""Tests of docs/howto/add-an-sms-provider.md: its provider works, and its lists match the code."""

from __future__ import annotations

import hashlib
import hmac
import importlib.util
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from gateway.noc.api.callbacks import SIGNATURE_WORDS
from ops.environment import PROJECT
from ops.install.provider_files import FILES, render
from services.notifications.channels import OutgoingMessage, SendFailed
from services.notifications.channels.http_client import ProviderHttp
from services.notifications.channels.provider import Callback, Provider
from services.notifications.channels.sms_providers import SMS_PROVIDERS
from services.notifications.settings import is_usable
from services.outgoing.client import OutgoingClient
from services.outgoing.rules import DEVELOPMENT

PAGE = (PROJECT / "docs" / "howto" / "add-an-sms-provider.md").read_text()
SETTINGS = {"textwave_api_key": "k-1", "textwave_sender": "VIGIL"}
OUTGOING = OutgoingMessage(reference="r-1", recipient="+919876543210", subject="", text="help")


class Textwave(BaseHTTPRequestHandler):
    """The API that the page describes."""

    seen: list[tuple[str | None, dict[str, Any]]]
    status: int

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.headers["Authorization"], body))
        answer = b'{"id": "t-1"}' if self.status == 200 else b"no such number"
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> type[Provider]:
    """Return the class of the page, from a file with the page's code."""
    [code] = re.findall(r"<!-- file: \S+textwave\.py -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    file = tmp_path_factory.mktemp("howto") / "textwave.py"
    file.write_text(code)
    spec = importlib.util.spec_from_file_location("textwave", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: type[Provider] = module.Textwave
    return found


@pytest.fixture
def server() -> Iterator[tuple[str, type[Textwave]]]:
    class Fresh(Textwave):
        seen = []
        status = 200

    running = HTTPServer(("127.0.0.1", 0), Fresh)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}", Fresh
    running.shutdown()
    thread.join()
    running.server_close()


def account(provider: type[Provider], url: str) -> Provider:
    http = ProviderHttp(OutgoingClient(DEVELOPMENT), provider=provider.name, deadline_s=5.0)
    return provider({**SETTINGS, "textwave_api_url": url}, http, public_url="https://noc.example.com")


def test_the_provider_of_the_page_sends(provider: type[Provider], server: tuple[str, type[Textwave]]) -> None:
    url, api = server
    assert is_usable(provider, SETTINGS)
    assert account(provider, url).send(OUTGOING).provider_ref == "t-1"
    report_url = "https://noc.example.com/api/v1/providers/textwave/status/r-1"
    sent = {"from": "VIGIL", "to": OUTGOING.recipient, "text": "help", "report_url": report_url}
    assert api.seen == [("Bearer k-1", sent)]

    api.status = 422
    with pytest.raises(SendFailed, match="no such number") as failure:
        account(provider, url).send(OUTGOING)
    assert failure.value.permanent


def test_the_provider_of_the_page_believes_signed_reports_only(provider: type[Provider]) -> None:
    textwave = account(provider, "https://api.textwave.example")
    body = json.dumps({"id": "t-1", "status": "failed"})
    signature = hmac.new(b"k-1", body.encode(), hashlib.sha256).hexdigest()
    signed = Callback(url="https://x/", body=body, headers={"x-textwave-signature": signature})
    assert textwave.is_signed(signed)
    assert not textwave.is_signed(Callback(url="https://x/", body=body))

    report = textwave.status_report(signed)
    assert report is not None
    assert (report.state, report.provider_ref) == ("failed", "t-1")
    queued = Callback(url="https://x/", body=json.dumps({"id": "t-1", "status": "queued"}))
    assert textwave.status_report(queued) is None


def test_the_files_of_the_page_are_those_that_are_written(provider: type[Provider]) -> None:
    rows = re.findall(r"^\| (`.*?`) \|", PAGE, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`([^`]+)`", row)} == set(FILES)
    for name in FILES:
        text = (PROJECT / name).read_text()
        assert "textwave" in render(text, (*SMS_PROVIDERS, provider)).lower(), name


def test_the_page_names_files_and_headers_as_they_are() -> None:
    for name in re.findall(r"`((?:services|tests|ops|docs)/[\w./@-]+)`", PAGE):
        assert Path(PROJECT, name).exists() or "textwave" in name, name
    assert all(f"`{word}`" in PAGE for word in SIGNATURE_WORDS)
    [listed] = re.findall(r"SMS_PROVIDERS: .*? = \(\n(.*?)\)", PAGE, re.DOTALL)
    names = [line.strip(" ,") for line in listed.splitlines()]
    assert names == [*(one.__name__ for one in SMS_PROVIDERS), "Textwave"]
