"""The documentation: every line of docs/API.md works, and /docs needs nothing from elsewhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

import workbench as wb
from workbench.service.keyring import Keyring

API = Path(wb.__file__).parent.parent / "docs" / "API.md"
KEY = "a-key-of-the-tests-1234"


def lines() -> list[str]:
    """Return the shell lines of the documentation that call the service."""
    blocks = re.findall(r"```sh\n(.*?)```", API.read_text("utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if "workbench serve" not in line
            and not line.startswith("pip ")]  # fmt: skip


def test_every_line_of_the_documentation_works(command, tmp_path):
    served = command("--models", "cifar10", API_KEYS=f"tests:{KEY}")
    for name in ("cat", "rocket"):
        shutil.copy(wb.example(name), tmp_path)
    script = ["set -eu", f"export WORKBENCH_URL={served.url} WORKBENCH_KEY={KEY}"]
    for line in lines():
        script += [line, "echo; echo ==="]
    run = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=tmp_path, capture_output=True, text=True,
        timeout=180, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr + run.stdout[-500:]
    said = [part.strip() for part in run.stdout.split("===")]
    by_line = dict(zip(lines(), said, strict=False))
    execute = [json.loads(text) for line, text in by_line.items() if "execute" in line]
    assert [answer["predictions"][0]["label"] for answer in execute] == ["cat"] * 3
    batch = next(json.loads(text) for line, text in by_line.items() if "/batch" in line)
    assert ["predictions" in one for one in batch["results"]] == [True, True]
    pulls = [json.loads(t) for line, t in by_line.items() if "/pull" in line or "ipfs" in line]
    assert [answer["error"]["code"] for answer in pulls] == ["switched_off"] * 2
    infer = next(json.loads(text) for line, text in by_line.items() if "/cifar10/infer" in line)
    assert len(infer["outputs"][0]["data"]) == 3
    assert KEY not in served.said()


def test_every_route_stands_in_the_documentation(service):
    text = API.read_text("utf-8")
    for path in service.app.openapi()["paths"]:
        known = path.replace("{model_id}", "cifar10").replace("{model}", "cifar10")
        if "versions/{version}" in known:
            continue
        assert known.replace("{job_id}", "$JOB") in text, path


class Links(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.found += [value for name, value in attributes if name in ("src", "href")]


def test_the_page_has_no_script_and_nothing_from_elsewhere(service):
    response = service.client.get("/docs")
    assert response.headers["content-type"].startswith("text/html")
    seen = Links(response.text)
    assert seen.found == ["openapi.json"]
    assert seen.tags.isdisjoint({"script", "link", "img", "iframe"})
    assert "url(" not in response.text
    for path in service.app.openapi()["paths"]:
        assert path in response.text


def test_the_schema_describes_bodies_and_errors(service):
    schema = service.client.get("/openapi.json").json()
    execute = schema["paths"]["/api/inference/execute"]["post"]
    body = execute["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {"model_id", "input", "options"}
    assert "`queue_full`" in execute["responses"]["503"]["description"]


def operations(schema):
    return [
        (path, method.upper(), told)
        for path, methods in schema["paths"].items()
        for method, told in methods.items()
    ]


def test_the_schema_describes_what_the_gate_and_a_body_may_answer(service):
    for path, method, told in operations(service.client.get("/openapi.json").json()):
        if path == "/health":
            continue
        assert {"401", "429"} <= told["responses"].keys(), (method, path)
        if "requestBody" in told:
            needed = {"400", "408", "413", "415", "503"}
            assert needed <= told["responses"].keys(), (method, path)


def test_the_schema_says_how_a_key_is_sent_and_where_one_is_needed(start, service):
    keyed = start(keys=Keyring([KEY]))
    schema = httpx.get(f"{keyed.url}/openapi.json", headers={"X-API-Key": KEY}).json()
    assert {way for one in schema["security"] for way in one} == {"bearer", "key", "basic"}
    for path, method, told in operations(schema):
        strange = httpx.request(method, keyed.url + path)
        if told.get("security") == []:
            assert strange.status_code == 200, path
        else:
            assert strange.status_code == 401, path
    ways = schema["components"]["securitySchemes"]
    assert ways["key"] == {"type": "apiKey", "in": "header", "name": "X-API-Key"}
    named = {"bearer": {"Authorization": f"Bearer {KEY}"}, "key": {"X-API-Key": KEY}}
    for way in ways:
        sent = {"auth": ("anyone", KEY)} if way == "basic" else {"headers": named[way]}
        assert httpx.get(f"{keyed.url}/v2", **sent).status_code == 200, way
    assert "X-API-Key" in httpx.get(f"{keyed.url}/docs", headers=named["key"]).text
    assert "security" not in service.client.get("/openapi.json").json()
    assert "X-API-Key" not in service.client.get("/docs").text


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_people_find_the_page(service, path):
    found = httpx.get(f"{service.url}{path}", follow_redirects=True)
    assert "<h1>workbench" in found.text
