"""The nginx site that belongs before a service: its limits are the service's own, by calculation.

A proxy with other figures than what stands behind it fails in ways that nobody can read: a picture
that is allowed is refused, a run that ends in time is cut off, an idle connection is closed by the
wrong end. So the site is written from the same :class:`~workbench.service.policy.Policy`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import ceil
from pathlib import Path

from workbench.errors import (
    BadRequestError,
    CancelledError,
    ConfigError,
    InferenceTimeoutError,
    InputTooLargeError,
    WorkbenchError,
)
from workbench.service.policy import HEAD_BYTES, HEAD_S, Policy
from workbench.service.problem import envelope, status_of
from workbench.service.server import KEEP_ALIVE_S

#: Seconds that the proxy waits beyond the service's own limit: it answers within one (docs/API.md),
#: and it is its answer, with a code, that the client shall get.
GRACE_S = 5
#: Seconds by which the proxy gives an idle connection up before the service does.
EARLIER_S = 5
#: Idle connections that each nginx worker keeps to the service.
KEPT = 16
#: Seconds after which a client may try again while the service is started anew.
RETRY_S = 2
#: Addresses whose answer takes as long as a download.
DOWNLOADS = ("/api/inference/pull", "/api/inference/load-from-ipfs")
_RID = "$workbench_request_id"
_SITE = """\
# nginx site for the workbench. Written by `workbench nginx` from the settings of the service:
# after a change of MAX_IMAGE_BYTES, MAX_BATCH_SIZE, INFERENCE_TIMEOUT, BODY_TIMEOUT,
# DOWNLOAD_TIMEOUT or PORT write it anew. The service needs keys (API_KEYS), since it sees requests
# from its own machine, for which alone it asks for none; and ALLOWED_HOSTS={names}
# Belongs into the http block: /etc/nginx/conf.d/workbench.conf, or sites-enabled.

map $http_x_request_id {rid} {{
    default                      $request_id;
    "~^[A-Za-z0-9._-]{{1,64}}$"    $http_x_request_id;
}}

upstream workbench {{
    server {upstream};
    keepalive {kept};
    keepalive_timeout {kept_s}s;  # before the service does, after {keep_alive_s} s
}}

server {{
    listen 80;
    listen [::]:80;
    server_name {name_list};
    return 308 https://$host$request_uri;
}}

server {{
    listen 443 ssl http2;
    listen [::]:443 ssl http2;
    server_name {name_list};
    server_tokens off;

    ssl_certificate {cert};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:workbench:1m;

    # The limits of the service, in bytes and in seconds.
    client_max_body_size {body_bytes};
    large_client_header_buffers 4 {head_bytes};
    client_header_timeout {head_s}s;
    client_body_timeout {body_s}s;
    send_timeout {body_s}s;
    proxy_connect_timeout {grace_s}s;
    proxy_send_timeout {body_s}s;
    proxy_read_timeout {read_s}s;

    # What the service counts and times, it counts and times itself.
    proxy_request_buffering off;
    proxy_next_upstream off;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Request-ID {rid};

    # What nginx refuses by itself, in the form of every error. The service's own pass as they are.
    error_page 400 414 494 = @bad_request;
    error_page 413 = @too_large;
    error_page 502 503 = @away;
    error_page 504 = @too_late;

    location / {{
        proxy_pass http://workbench;
    }}
{downloads}{refusals}}}
"""


class AwayError(CancelledError):
    """What a proxy says while nothing stands behind it."""

    def __init__(self) -> None:
        WorkbenchError.__init__(self, "The service is not running, or is being started anew.")


def nginx(
    policy: Policy,
    *,
    port: int,
    names: Sequence[str],
    tls_cert: Path = Path("/etc/ssl/certs/workbench.pem"),
    tls_key: Path = Path("/etc/ssl/private/workbench.key"),
) -> str:
    """Return the text of an nginx site for a service on the same machine.

    Parameters
    ----------
    policy : limits of the service: body in bytes, times in seconds
    port : where the service listens, at its own address if that is one, else at 127.0.0.1
    names : the names under which others know the site; at least one
    tls_cert, tls_key : files (PEM) that nginx reads

    Raises
    ------
    ConfigError : no name, or one that is no name of a host; a path with a quote or a line's end

    Notes
    -----
    The body limit is :attr:`Policy.largest_body_bytes`, exact to the byte. ``proxy_read_timeout``
    is the longest that a request may take plus :data:`GRACE_S`; where models are fetched, that of a
    download. HTTP/2's own limits are nginx's.

    Source
    ------
    nginx.org/en/docs/http/ngx_http_core_module.html, ngx_http_proxy_module.html and
    ngx_http_upstream_module.html (``keepalive_timeout`` of an upstream: since 1.15.3)
    """
    for name in names or ("",):
        if not name or not all(c.isascii() and (c.isalnum() or c in "-.") for c in name):
            raise ConfigError("--name", name, "a name such as models.example.org")
    read_s = ceil(policy.timeout_s) + GRACE_S
    return _SITE.format(
        rid=_RID,
        names=",".join(names),
        name_list=" ".join(names),
        upstream=_place(policy.host, port),
        kept=KEPT,
        kept_s=KEEP_ALIVE_S - EARLIER_S,
        keep_alive_s=KEEP_ALIVE_S,
        cert=_quoted_path(tls_cert),
        key=_quoted_path(tls_key),
        body_bytes=policy.largest_body_bytes,
        head_bytes=HEAD_BYTES // 4,
        head_s=ceil(HEAD_S),
        body_s=ceil(policy.body_s),
        grace_s=GRACE_S,
        read_s=read_s,
        downloads="".join(_download(path, ceil(policy.pull_s) + GRACE_S) for path in DOWNLOADS),
        refusals="".join(
            _refusal(place, error, status, retry)
            for place, error, status, retry in _refusals(policy, read_s)
        ),
    )


def _place(host: str, port: int) -> str:
    """Return where nginx finds the service: an address that stands for all is this machine."""
    if host in ("", "0.0.0.0", "::", "localhost"):
        host = "127.0.0.1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _quoted_path(path: Path) -> str:
    text = path.as_posix()
    if any(c in text for c in "\"'\\$;{}") or not text.isprintable():
        raise ConfigError("--tls-cert and --tls-key", text, "a path without quotes and braces")
    return f'"{text}"' if " " in text else text


def _download(path: str, limit_s: int) -> str:
    return f"""
    location = {path} {{
        proxy_pass http://workbench;
        proxy_read_timeout {limit_s}s;
    }}
"""


def _refusals(policy: Policy, read_s: int) -> list[tuple[str, WorkbenchError, int, int]]:
    """Return what nginx answers by itself: where, the error, its status, seconds to try again."""
    large = InputTooLargeError(
        "The body", "more bytes than that", f"{policy.largest_body_bytes:,} bytes"
    )
    late = InferenceTimeoutError("", float(read_s), what="The request")
    bad = BadRequestError("The request", "no HTTP, or too large a head", "HTTP/1.1")
    return [
        ("bad_request", bad, status_of(bad), 0),
        ("too_large", large, status_of(large), 0),
        ("away", (away := AwayError()), status_of(away), RETRY_S),
        ("too_late", late, status_of(late), 0),
    ]


def _refusal(place: str, error: WorkbenchError, status: int, retry_s: int) -> str:
    again = f"\n        add_header Retry-After {retry_s} always;" if retry_s else ""
    plain, protocol = (_literal(envelope(error, _RID, protocol=p)) for p in ("", "v2"))
    return f"""
    location @{place} {{
        internal;
        default_type application/json;
        add_header X-Request-ID {_RID} always;{again}
        if ($request_uri ~ "^/v2(/|$)") {{
            return {status} {protocol};
        }}
        return {status} {plain};
    }}
"""


def _literal(value: object) -> str:
    """Return JSON as a string of nginx, in which only the request's id is a variable."""
    text = json.dumps(value)
    assert text.count("$") == text.count(_RID) == 1, "nginx would take it for a variable"
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
