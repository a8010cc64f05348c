"""What is dialled, and that a certificate must be that of the name."""

from __future__ import annotations

import shutil
import ssl
import subprocess

import pytest
from faults import Faults, file
from hypothesis import given
from hypothesis import strategies as st

from workbench import errors
from workbench.models import fetch, guard
from workbench.models.fetch import Fetcher, Rules
from workbench.models.guard import Dialler, refusal


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1", "loopback"), ("127.9.9.9", "loopback"), ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"), ("10.0.0.1", "private"), ("172.16.0.1", "private"),
        ("192.168.0.1", "private"), ("fc00::1", "private"), ("fec0::1", "private"),
        ("169.254.169.254", "link-local"), ("fe80::1%eth0", "link-local"),
        ("224.0.0.1", "multicast"), ("ff02::1", "multicast"), ("0.0.0.0", "unspecified"),
        ("::", "unspecified"), ("100.64.0.1", "not public"), ("240.0.0.1", "private"),
        ("255.255.255.255", "private"), ("64:ff9b::a00:1", "private"),
        ("2002:a00:1::", "private"), ("::10.0.0.1", "reserved"), ("2001:db8::1", "private"),
        ("198.18.0.1", "private"), ("nonsense", "no IP address"),
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_refused(address, words):
    assert words in refusal(address)


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"],
)
def test_a_public_address_is_dialled(address):
    assert refusal(address) == ""


@given(st.ip_addresses(v=4))
def test_an_address_is_judged_the_same_however_it_is_wrapped(ip):
    mapped = refusal(f"::ffff:{ip}")
    assert mapped == refusal(str(ip))
    assert bool(refusal(f"64:ff9b::{int(ip) >> 16:x}:{int(ip) & 0xFFFF:x}")) == bool(mapped)


def test_an_exemption_is_for_one_server_and_port():
    dialler = Dialler(lambda: None)
    dialler.exempt = ("127.0.0.1", 8080)
    assert dialler.checked("127.0.0.1", 8080) == ["127.0.0.1"]
    with pytest.raises(errors.UrlRefusedError):
        dialler.checked("127.0.0.1", 8081)


def test_a_name_that_nobody_knows_is_told(monkeypatch):
    monkeypatch.setattr(fetch, "TRIES", 0)

    def unknown(*_):
        raise guard.socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(guard, "resolve", unknown)
    with pytest.raises(errors.DownloadError, match="name or service not known"):
        Fetcher(Rules()).read("https://no.example/x", limit_bytes=10)


def test_a_server_that_does_not_listen_is_told_at_once(monkeypatch):
    monkeypatch.setattr(fetch, "PAUSE_S", 60.0)
    server = Faults()
    server.stop()
    rules = Rules(allow_http=True, allow_private=True)
    with pytest.raises(errors.DownloadError, match="connection refused"):
        Fetcher(rules).read(server.url, limit_bytes=10)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Make a certificate for models.example, and the authority that everyone here trusts."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("platform: no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-keyout", "key.pem", "-out", "cert.pem",
         "-subj", "/CN=models.example", "-addext", "subjectAltName=DNS:models.example"],
        cwd=folder, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return folder


@pytest.fixture
def secure(certificate, monkeypatch):
    monkeypatch.setattr(fetch, "TRIES", 0)
    monkeypatch.setattr(guard, "resolve", lambda *_: ["127.0.0.1"])
    monkeypatch.setattr(guard, "refusal", lambda _: "")
    server = Faults()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    names = []
    context.sni_callback = lambda _, name, __: names.append(name)
    real = server.get_request

    def wrapped():
        connection, address = real()
        return context.wrap_socket(connection, server_side=True), address

    server.get_request = wrapped
    server.names = names
    server.routes["/x"] = file(b"hello")
    yield server
    server.stop()


def test_the_name_is_what_the_certificate_must_be_of(secure, certificate):
    port = secure.server_address[1]
    rules = Rules(ca_file=str(certificate / "cert.pem"))
    assert Fetcher(rules).read(f"https://models.example:{port}/x", limit_bytes=10) == b"hello"
    assert secure.names == ["models.example"]
    assert secure.asked[0].headers["host"] == f"models.example:{port}"
    with pytest.raises(errors.DownloadError, match="certificate is not accepted"):
        Fetcher(rules).read(f"https://other.example:{port}/x", limit_bytes=10)


def test_a_certificate_that_nobody_vouches_for_is_not_accepted(secure):
    port = secure.server_address[1]
    with pytest.raises(errors.DownloadError, match="certificate is not accepted"):
        Fetcher(Rules()).read(f"https://models.example:{port}/x", limit_bytes=10)
    assert secure.asked == []


def test_a_file_of_certificates_that_is_none_is_told(tmp_path):
    (tmp_path / "ca.pem").write_text("no")
    with pytest.raises(errors.ConfigError, match="CA_FILE"):
        Fetcher(Rules(ca_file=str(tmp_path / "ca.pem"))).read("https://a.example", limit_bytes=1)


def test_a_handshake_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(fetch, "TRIES", 0)
    monkeypatch.setattr(fetch, "STALL_S", 0.3)
    with guard.socket.create_server(("127.0.0.1", 0)) as listener:  # it never takes the call
        port = listener.getsockname()[1]
        with pytest.raises(errors.DownloadError, match="silent"):
            Fetcher(Rules(allow_private=True)).read(f"https://127.0.0.1:{port}/x", limit_bytes=10)
