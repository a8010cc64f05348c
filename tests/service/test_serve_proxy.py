"""The nginx site: the shipped one is the written one, nginx takes it, and it works as promised."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from service_tools import until, write_certificate

import workbench as wb
from workbench.cli import main
from workbench.errors import ConfigError
from workbench.service import proxy, server
from workbench.service.policy import HEAD_BYTES, HEAD_S, Policy

SITE = Path(wb.__file__).parent.parent / "deploy" / "nginx.conf"
#: Where Debian has it, which is in no ordinary user's PATH.
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
needs_nginx = pytest.mark.skipif(
    NGINX is None or shutil.which("openssl") is None,
    reason="not installable: nginx and openssl (Debian: apt-get install nginx-light openssl)",
)


def test_the_shipped_site_is_what_the_command_writes(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no .env of the checkout
    assert main(["nginx", "workbench.example"]) == 0
    assert capsys.readouterr().out == SITE.read_text("utf-8"), (
        "write it anew: workbench nginx workbench.example > deploy/nginx.conf"
    )


def told(site: str) -> dict[str, str]:
    """Return the directives of one value; of several of a name, the first."""
    found: dict[str, str] = {}
    for name, value in re.findall(r"^ *(\w+) ([^;{]+);", site, re.MULTILINE):
        found.setdefault(name, value)
    return found


def test_its_figures_are_the_service_s():
    policy = Policy()
    facts = told(proxy.nginx(policy, port=3000, names=("a.example",)))
    assert int(facts["client_max_body_size"]) == policy.json_bytes(10) == 137_565_566
    assert facts["client_header_timeout"] == f"{HEAD_S:.0f}s"
    assert facts["client_body_timeout"] == facts["proxy_send_timeout"] == f"{policy.body_s:.0f}s"
    number, each = facts["large_client_header_buffers"].split()
    assert int(number) * int(each) == HEAD_BYTES
    # the service answers within a second of its limit: the proxy is there to hear it
    assert int(facts["proxy_read_timeout"][:-1]) > policy.timeout_s + 1
    assert int(facts["keepalive_timeout"][:-1]) < server.KEEP_ALIVE_S


def test_other_settings_are_other_figures(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAX_IMAGE_BYTES", "3000000")
    monkeypatch.setenv("MAX_BATCH_SIZE", "2")
    monkeypatch.setenv("INFERENCE_TIMEOUT", "1500")
    monkeypatch.setenv("BODY_TIMEOUT", "5000")
    monkeypatch.setenv("DOWNLOAD_TIMEOUT", "60000")
    monkeypatch.setenv("PORT", "8123")
    assert main(["nginx", "a.example", "b.example", "--tls-cert", "/c.pem"]) == 0
    site = capsys.readouterr().out
    facts = told(site)
    assert int(facts["client_max_body_size"]) == 2 * 4_125_000 + 65_536
    assert facts["proxy_read_timeout"] == "7s"
    assert facts["client_body_timeout"] == "5s"
    assert site.count("proxy_read_timeout 65s;") == len(proxy.DOWNLOADS)
    assert "server 127.0.0.1:8123;" in site
    assert facts["server_name"] == "a.example b.example"
    assert "ALLOWED_HOSTS=a.example,b.example" in site
    assert facts["ssl_certificate"] == "/c.pem"


@pytest.mark.parametrize(
    ("names", "key"),
    [((), "/k.pem"), (("",), "/k.pem"), (("a; deny all",), "/k.pem"), (("a",), '/k".pem')],
)
def test_what_would_break_the_site_is_refused(names, key):
    with pytest.raises(ConfigError) as caught:
        proxy.nginx(Policy(), port=1, names=names, tls_key=Path(key))
    assert "expected" in str(caught.value)


def test_a_service_that_speaks_tls_itself_needs_no_site(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TLS_CERT", "cert.pem")
    assert main(["nginx", "a.example"]) == 1
    assert "behind nginx it is nginx that speaks TLS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "place"),
    [("0.0.0.0", "127.0.0.1:1"), ("::1", "[::1]:1"), ("192.0.2.7", "192.0.2.7:1")],
)
def test_it_asks_where_the_service_listens(host, place):
    site = proxy.nginx(replace(Policy(), host=host), port=1, names=("a.example",))
    assert f"server {place};" in site


# ── in a real nginx ───────────────────────────────────────────────────────────────────────────


def whole(folder: Path, site: str) -> list[str]:
    """Put a site into a configuration of its own; return the command that reads it."""
    (folder / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;\n"
        "events { worker_connections 64; }\n"
        "http {\n access_log off;\n"
        + "".join(f" {kind}_temp_path {folder}/{kind};\n" for kind in
                  ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        + site + "}\n"
    )  # fmt: skip
    assert NGINX is not None
    return [NGINX, "-p", str(folder), "-e", str(folder / "error.log"), "-c",
            str(folder / "nginx.conf")]  # fmt: skip


@needs_nginx
def test_nginx_takes_the_shipped_site(tmp_path):
    write_certificate(tmp_path)
    site = SITE.read_text("utf-8")
    for there, here in (("/etc/ssl/certs/workbench.pem", "cert.pem"),
                        ("/etc/ssl/private/workbench.key", "key.pem")):  # fmt: skip
        assert there in site
        site = site.replace(there, str(tmp_path / here))
    command = whole(tmp_path, site)
    done = subprocess.run([*command, "-t"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr


class Fronted:
    """A service behind a really started nginx; the service can be ended first."""

    def __init__(self, running, folder: Path) -> None:
        write_certificate(folder)
        ports = []
        for _ in range(2):
            with socket.create_server(("127.0.0.1", 0)) as free:
                ports.append(free.getsockname()[1])
        site = proxy.nginx(
            running.desk.policy, port=running.port, names=("localhost",),
            tls_cert=folder / "cert.pem", tls_key=folder / "key.pem",
        )  # fmt: skip
        for port, mine in zip(("80", "443"), ports, strict=True):
            site = re.sub(rf"listen \[::\]:{port}\b.*;\n", "", site)
            site = re.sub(rf"listen {port}\b", f"listen 127.0.0.1:{mine}", site)
        self.plain, port = f"http://127.0.0.1:{ports[0]}", ports[1]
        self.log = folder / "error.log"
        self.process = subprocess.Popen(whole(folder, site), stderr=subprocess.DEVNULL)
        context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
        self.client = httpx.Client(base_url=f"https://localhost:{port}", verify=context, timeout=60)

    def up(self) -> bool:
        try:
            return self.client.get("/health").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(scope="module")
def behind(start, tmp_path_factory):
    running = start(max_image_bytes=3_000, max_batch=2)
    fronted = Fronted(running, tmp_path_factory.mktemp("nginx"))
    fronted.running = running
    yield fronted
    fronted.close()


@needs_nginx
def test_a_picture_goes_through_it_and_keeps_its_id(behind, red):
    assert until(behind.up, 60), behind.log.read_text()
    body = {"model_id": "colours", "input": {"type": "image", "data": red}}
    answer = behind.client.post(
        "/api/inference/execute", json=body, headers={"X-Request-ID": "mine-1"}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "mine-1"
    assert len(answer.json()["predictions"]) == 3
    found = httpx.get(f"{behind.plain}/health")
    assert found.status_code == 308
    assert found.headers["location"].startswith("https://")


@needs_nginx
@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize("path", ["/api/inference/batch", "/v2/models/colours/infer"])
def test_bodies_are_limited_at_the_same_byte_as_in_the_service(behind, more, path):
    assert until(behind.up, 60)
    limit = behind.running.desk.policy.largest_body_bytes
    answer = behind.client.post(path, content=b" " * (limit + more))
    through = httpx.post(f"{behind.running.url}{path}", content=b" " * (limit + more))
    if path.startswith("/v2"):  # tensors have less room, which the service sees to
        assert answer.status_code == 413
        assert answer.json()["code"] == "input_too_large"
        return
    assert answer.status_code == through.status_code == (413 if more else 400)
    code = answer.json()["error"]["code"]
    assert code == through.json()["error"]["code"] == ("input_too_large" if more else "bad_request")
    assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]


@needs_nginx
def test_errors_of_the_service_pass_and_a_strange_host_is_refused(behind):
    assert until(behind.up, 60)
    large = base64.b64encode(bytes(3_001)).decode()
    body = {"model_id": "colours", "input": {"type": "image", "data": large}}
    answer = behind.client.post("/api/inference/execute", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "image_too_large")
    strange = behind.client.get("/api/inference/models", headers={"Host": "elsewhere.example"})
    assert (strange.status_code, strange.json()["error"]["code"]) == (400, "bad_request")


@needs_nginx
def test_a_head_that_is_too_large_is_an_error_in_our_form(behind):
    assert until(behind.up, 60)
    answer = behind.client.get("/health", headers={"X-Large": "x" * HEAD_BYTES})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_request"


@needs_nginx
def test_while_the_service_is_away_clients_are_told_so(start, tmp_path):
    running = start()
    fronted = Fronted(running, tmp_path)
    try:
        assert until(fronted.up, 60)
        running.close()
        answer = fronted.client.get("/health", headers={"X-Request-ID": 'a"b'})
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == str(proxy.RETRY_S)
        assert answer.headers["content-type"] == "application/json"
        error = answer.json()["error"]
        assert error["code"] == "cancelled"
        assert re.fullmatch("[0-9a-f]{32}", error["request_id"])
        v2 = fronted.client.get("/v2/health/live").json()
        assert v2["error"] == error["message"]
        assert json.dumps(v2).count("cancelled") == 1
    finally:
        fronted.close()
