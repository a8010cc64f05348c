"""Who may come in: keys, names, pages, rates; and what stands in no log."""

from __future__ import annotations

import base64

import httpx
import pytest
from limits import parse
from service_tools import raw, until

from workbench.errors import ConfigError, SwitchedOffError, UrlRefusedError
from workbench.service.keyring import Keyring
from workbench.service.policy import Policy
from workbench.settings import Settings

ANN, BEN = "correct-horse-battery", "staple-staple-staple"
OPEN = {"/health"}


@pytest.fixture(scope="module")
def locked(start):
    """Return a service with two keys."""
    return start(keys=Keyring([f"ann:{ANN}", BEN]))


def code(response):
    return response.status_code, response.json()["error"]["code"]


# ── keys ──────────────────────────────────────────────────────────────────────────────────────


def test_every_route_but_health_needs_a_key(locked):
    paths = locked.app.openapi()["paths"]
    known = {"{model_id}": "colours", "{model}": "colours", "{version}": "1", "{job_id}": "x"}
    asked = 0
    for path, methods in paths.items():
        for name, value in known.items():
            path = path.replace(name, value)
        for method in methods:
            response = locked.client.request(method, path)
            assert (response.status_code == 401) == (path not in OPEN), path
            asked += 1
    assert asked > 20
    for path in ("/docs", "/", "/openapi.json", "/nowhere"):
        assert locked.client.get(path).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {ANN}"},
        {"authorization": f"bearer {BEN}"},
        {"X-API-Key": ANN},
        {"Authorization": "Basic " + base64.b64encode(f"anyone:{BEN}".encode()).decode()},
    ],
)
def test_a_key_opens_in_every_form(locked, headers):
    assert locked.client.get("/api/inference/models", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": f"Bearer {ANN}x"},
        {"Authorization": f"Bearer ann:{ANN}"},
        {"Authorization": ANN},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic ???"},
        {"Authorization": "Basic " + base64.b64encode(ANN.encode()).decode()},
        {"X-API-Key": ""},
        {"X-API-Key": "clé".encode("latin-1")},
    ],
)
def test_nothing_else_opens(locked, headers):
    response = locked.client.get("/api/inference/models", headers=headers)
    assert code(response) == (401, "unauthorised")
    assert "Bearer" in response.headers["www-authenticate"]
    assert response.headers["www-authenticate"].startswith("Basic ")


def test_only_hashes_stay_in_memory():
    ring = Keyring([f"ann:{ANN}", BEN])
    assert ring.names == ("ann", "key-2")
    kept = repr([(key.name, key.digest) for key in ring._keys])
    assert ANN not in kept
    assert BEN not in kept


@pytest.mark.parametrize("keys", [["short"], ["ann:short"], [f"a:{ANN}", f"a:{BEN}"]])
def test_keys_that_are_none_are_refused_without_being_shown(keys):
    with pytest.raises(ConfigError) as caught:
        Keyring(keys)
    assert "short" not in str(caught.value)


def test_every_key_is_compared_whatever_is_sent(monkeypatch):
    import hmac

    ring = Keyring([f"ann:{ANN}", BEN, f"cem:{ANN}{BEN}"])
    seen = []
    real = hmac.compare_digest

    def counting(one, other):
        seen.append((len(one), len(other)))
        return real(one, other)

    monkeypatch.setattr("workbench.service.keyring.hmac.compare_digest", counting)
    assert ring.name_of(ANN) == "ann"
    assert ring.name_of("x") is None
    assert seen == [(32, 32)] * 6


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "lab.example"])
def test_nothing_listens_elsewhere_without_a_key(host):
    with pytest.raises(ConfigError, match="at least one key"):
        Policy.of(Settings(host=host, api_keys=()))
    assert Policy.of(Settings(host=host, api_keys=(ANN,))).keys


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_on_this_machine_no_key_is_needed(host):
    assert not Policy.of(Settings(host=host)).keys


def test_the_command_says_what_is_missing(tmp_path):
    import subprocess
    import sys

    run = subprocess.run(
        [sys.executable, "-m", "workbench", "serve", "--host", "0.0.0.0", "--port", "0"],
        cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert run.returncode == 1
    assert "expected at least one key, since the service listens on 0.0.0.0" in run.stderr
    assert "Traceback" not in run.stderr


# ── names and pages ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:3000", "127.0.0.1", "[::1]:80"])
def test_its_own_names_are_known(service, host):
    assert service.client.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.example", "10.0.0.1", "[::2]"]
)
def test_other_names_are_not(service, host):
    response = service.client.get("/health", headers={"Host": host})
    assert code(response) == (400, "bad_request")


@pytest.mark.parametrize("path", ["/health", "/v2", "/api/inference/models", "/nowhere"])
@pytest.mark.parametrize("origin", ["http://[", "null", "http://[::1", "://", "\\", "http://a]b"])
def test_an_origin_that_is_no_address_is_refused_like_any_other(service, path, origin):
    response = service.client.get(path, headers={"Origin": origin})
    assert response.status_code == 400
    told = response.json()
    assert (told["code"] if path == "/v2" else told["error"]["code"]) == "bad_request"


@pytest.mark.parametrize("names", [("evil.example", "localhost"), ("localhost", "localhost")])
def test_two_names_at_once_are_refused(service, names):
    head = "".join(f"Host: {name}\r\n" for name in names)
    sent = f"GET /health HTTP/1.1\r\n{head}Connection: close\r\n\r\n"
    answer = raw(service.port, sent.encode())
    assert answer.startswith(b"HTTP/1.1 400")
    assert f"The Host header is '{names[0]}, {names[1]}'".encode() in answer


def test_names_can_be_added_and_elsewhere_figures_are_good():
    here = Policy.of(Settings(allowed_hosts=("Lab.example",)))
    assert here.knows_host("lab.EXAMPLE")
    assert not here.knows_host("10.0.0.1")
    elsewhere = Policy.of(Settings(host="0.0.0.0", api_keys=(ANN,)))
    assert elsewhere.knows_host("10.0.0.1")
    assert not elsewhere.knows_host("evil.example")
    assert Policy.of(Settings(allowed_hosts=("*",))).knows_host("evil.example")


def test_a_strange_page_is_stopped_before_it_does_anything(service, red):
    body = {"model_id": "colours", "input": {"data": red}}
    response = service.client.post(
        "/api/inference/execute", json=body, headers={"Origin": "https://evil.example"}
    )
    assert code(response) == (400, "bad_request")
    assert "access-control-allow-origin" not in response.headers
    own = service.client.get("/health", headers={"Origin": service.url})
    assert own.status_code == 200


def test_a_page_that_is_named_may_ask(start):
    page = "https://lab.example"
    running = start(origins=(page,), keys=Keyring([ANN]))
    asked = {"Origin": page, "Access-Control-Request-Method": "POST"}
    preflight = running.client.options("/api/inference/execute", headers=asked)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == page
    refused = running.client.get("/api/inference/models", headers={"Origin": page})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == page
    good = {"Origin": page, "X-API-Key": ANN}
    assert running.client.get("/api/inference/models", headers=good).status_code == 200
    other = {"Origin": "https://evil.example", "X-API-Key": ANN}
    assert running.client.get("/api/inference/models", headers=other).status_code == 400


def test_what_a_browser_asks_first_is_answered_and_written_down_like_everything(start, caplog):
    page = "https://lab.example"
    running = start(origins=(page,))
    ask, wants = running.client.options, "Access-Control-Request-Method"
    asked = {"Origin": page, wants: "DELETE", "Access-Control-Request-Headers": "x-api-key"}
    with caplog.at_level("INFO", "workbench.service"):
        good = ask("/v2", headers=asked | {"X-Request-ID": "first"})
        # the line is written once the answer is out
        assert until(lambda: [r.request_id for r in caplog.records] == ["first"])
    assert (good.status_code, good.headers["x-request-id"]) == (200, "first")
    assert good.headers["access-control-allow-headers"] == "x-api-key"
    for wrong in (
        {"Origin": "https://evil.example"},
        {"Host": "evil.example"},
        {wants: "BREW"},
        {"Origin": running.url},  # asks nothing of itself
    ):
        response = ask("/api/inference/execute", headers=asked | wrong)
        assert code(response) == (400, "bad_request"), wrong
        assert response.json()["error"]["request_id"] == response.headers["x-request-id"]
    private = asked | {"Access-Control-Request-Private-Network": "true"}
    assert ask("/v2", headers=private).status_code == 200


def test_the_script_of_a_page_may_read_the_headers_that_matter(start):
    page = "https://lab.example"
    running = start(origins=(page,))
    response = running.client.get("/health", headers={"Origin": page})
    shown = response.headers["access-control-expose-headers"].lower()
    assert {"x-request-id", "retry-after", "inference-header-content-length"} == set(
        shown.split(", ")
    )


@pytest.mark.parametrize("page", ["http://[", "lab", "https://", "https://a.example/b", "*"])
def test_a_page_that_is_none_is_no_setting(page):
    with pytest.raises(ConfigError, match="CORS_ORIGINS"):
        Policy.of(Settings(cors_origins=(page,)))


# ── rates and sources ─────────────────────────────────────────────────────────────────────────


def test_each_key_has_its_own_rate(start):
    running = start(keys=Keyring([f"ann:{ANN}", f"ben:{BEN}"]), rate=parse("3/hour"))
    get = running.client.get
    ann, ben = {"X-API-Key": ANN}, {"X-API-Key": BEN}
    assert [get("/api/inference/models", headers=ann).status_code for _ in range(4)] == [
        200, 200, 200, 429,
    ]  # fmt: skip
    late = get("/v2", headers=ann)
    assert late.status_code == 429
    assert late.json()["code"] == "rate_limited"
    assert 1 <= int(late.headers["retry-after"]) <= 3600
    assert get("/api/inference/models", headers=ben).status_code == 200
    assert get("/health").status_code == 200
    wrong = {"X-API-Key": "guess-after-guess-after"}
    guesses = [get("/api/inference/models", headers=wrong).status_code for _ in range(5)]
    assert guesses == [401, 401, 401, 429, 429]


@pytest.mark.parametrize("rate", ["fast", "0/minute", "5/second; 100/hour"])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(ConfigError, match="a rate such as 600/minute"):
        Policy.of(Settings(rate_limit=rate))


@pytest.mark.parametrize(
    ("allowed", "source", "good"),
    [
        ("catalogue", "resnet18-v2-7", True),
        ("catalogue", "https://a.example/m.onnx", False),
        ("catalogue", "/etc/passwd", False),
        ("ipfs", "ipfs://bafy/m.onnx", True),
        ("ipfs", "https://a.example/m.onnx", False),
        ("hf://org", "hf://org/repo/m.onnx", True),
        ("hf://org", "hf://organisation/repo/m.onnx", False),
        ("https://a.example/onnx", "https://a.example/onnx/m.onnx", True),
        ("https://a.example/onnx/", "https://a.example/onnx/m.onnx", True),
        ("https://a.example/onnx", "https://a.example/onnx/../m.onnx", False),
        ("https://a.example/onnx", "https://a.example/onnx/%2e%2e/m.onnx", False),
        ("https://a.example/onnx", "https://a.example/onnx/%2E%2E/m.onnx", False),
        ("https://a.example/onnx", "https://a.example/onnx\\..\\m.onnx", False),
        ("https://a.example", "https://a.example@evil.example/m.onnx", False),
        ("https://a.example", "https://a.example.evil.example/m.onnx", False),
        ("https://a.example", "HTTPS://a.example/m.onnx", False),
    ],
)
def test_only_sources_on_the_list_are_fetched(allowed, source, good):
    policy = Policy.of(Settings(pull_sources=(allowed,)))
    if good:
        policy.check_source(source)
        assert policy.sources == (allowed,)
    else:
        with pytest.raises(UrlRefusedError):
            policy.check_source(source)


def test_without_a_list_nothing_is_fetched():
    with pytest.raises(SwitchedOffError):
        Policy().check_source("resnet18-v2-7")


@pytest.mark.parametrize("source", ["file:///etc", "/srv", "http://a.example", "all", "https://"])
def test_a_source_that_is_none_is_no_setting(source):
    with pytest.raises(ConfigError, match="PULL_SOURCES"):
        Policy.of(Settings(pull_sources=(source,)))


def test_no_key_stands_in_the_log(command):
    served = command(API_KEYS=f"ann:{ANN}", LOG_LEVEL="debug")
    with httpx.Client(base_url=served.url) as client:
        client.get("/api/inference/models", headers={"Authorization": f"Bearer {ANN}"})
        client.get("/api/inference/models", params={"key": ANN}, headers={"X-API-Key": ANN})
        client.get("/api/inference/models", headers={"X-API-Key": "a-guess-of-a-stranger"})
    assert served.end() == 0
    said = served.said()
    assert '"key": "ann"' in said
    assert ANN not in said
    assert "a-guess-of-a-stranger" not in said
