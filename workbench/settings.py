"""The settings of a process: arguments first, then the environment, then ``.env``.

This is the only reader of the environment. A variable is sought as ``WORKBENCH_<NAME>`` and then
under its bare name; the host only as ``WORKBENCH_HOST``, since shells set ``HOST``. ``.env`` is
taken from the nearest ancestor of the working directory that has one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from workbench.cards import Card, Displayable, table_of
from workbench.errors import ConfigError, choices, nearest
from workbench.units import count, seconds, size

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

#: Largest encoded image file, in bytes (10 MB, the limit of the server this grew out of).
MAX_IMAGE_BYTES = 10_000_000
#: Optimised graphs kept on disk, in bytes: some forty of a ResNet-18's size.
MAX_GRAPH_CACHE_BYTES = 2_000_000_000
#: Largest download, in bytes: a model file ends at 2 GiB, its data files may be larger.
MAX_DOWNLOAD_BYTES = 8_000_000_000
#: A Kubo node of one's own, then public gateways that serve blocks and archives
#: (https://ipfs.github.io/public-gateway-checker).
IPFS_GATEWAYS = (
    "http://127.0.0.1:8080",
    "https://trustless-gateway.link",
    "https://ipfs.io",
    "https://dweb.link",
)
#: Name of this project's folders below the user's data and cache folders.
FOLDER = "workbench"
#: Words separated by commas in a variable.
_Words = Annotated[tuple[str, ...], NoDecode]


def _named(name: str) -> AliasChoices:
    return AliasChoices(f"WORKBENCH_{name}", name)


class Settings(Displayable, BaseSettings):
    """Frozen settings; see the module's docstring for where they come from.

    Attributes
    ----------
    model_dir : writable shelf of models; None: the nearest ancestor with ``models/metadata/``,
        else the user's data folder
    data_dir : folder with ``labels/`` and ``images/``; None: beside ``model_dir``
    max_models_in_memory : live sessions that a hub keeps
    max_model_bytes : bytes of models that a hub keeps live; None for no such limit
    graph_cache : keep optimised graphs in the cache folder, and load from there
    max_graph_cache_bytes : of these graphs; the least recently used go first
    shared_threads : threads of one pool for all models; None for a pool a model
    inference_timeout : limit of one run, in milliseconds
    max_batch_size : images in one run and in one request
    max_image_bytes : largest encoded image file, in bytes
    worker_processes : of an isolated runner
    worker_threads : of one operator in each of them; None for what was measured to be best
    worker_memory_bytes : most that one of them may hold; None for three quarters of the
        machine's memory, divided among them
    log_level, host, port, api_keys : of the service; a key may have a name before it, ``ann:key``
    log_format : console for people, json for machines, auto for whichever reads stderr
    log_dir : folder for ``error.log`` and ``combined.log``, which rotate; None for none
    workers : worker processes of the service; None for one more than the machine has threads
    preload_models : loaded and warmed up before the service says that it is ready
    queue_limit : requests that may wait
    dynamic_batching : whether pictures of one model that wait at the same time share a run: on,
        off, or auto, for models that something other than the processor runs
    batch_delay : longest that a picture waits for others while a worker is free, in milliseconds
    rate_limit : of each key, such as ``600/minute``; empty for none
    allowed_hosts : names under which the service may be asked for; ``*`` for any
    cors_origins : pages that may ask from a browser, such as ``https://lab.example``
    pull_sources : what clients may have fetched: ``catalogue``, ``ipfs``, ``hf://org``, an
        address; empty: nothing
    redis_url : of the Redis that keeps the service's jobs, ``redis://host:6379/0``; None for the
        memory of the service
    body_timeout, drain_timeout : of the service, in milliseconds
    tls_cert, tls_key : files (PEM) with which it speaks https
    offline : refuse everything that needs the network
    mirrors : folders and servers that are asked for models of the catalogue, before its sources
    hf_endpoint, hf_token : the Hugging Face server, and a token for it alone
    ipfs_gateways : asked in this order; none is trusted
    max_download_bytes, download_timeout : limits of one pull, in bytes and in milliseconds
    allow_http, allow_private : dial plain http, and addresses that are not public
    ca_file : certificates (PEM) that servers are checked with; None for those of certifi
    no_color : any text switches colours off (https://no-color.org)
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",  # .env may serve other programs as well
        case_sensitive=True,
        env_ignore_empty=True,
        env_file_encoding="utf-8",
        hide_input_in_errors=True,  # a key may be in it
    )

    model_dir: Path | None = Field(None, validation_alias=_named("MODEL_DIR"))
    data_dir: Path | None = Field(None, validation_alias=_named("DATA_DIR"))
    max_models_in_memory: int = Field(3, ge=1, validation_alias=_named("MAX_MODELS_IN_MEMORY"))
    max_model_bytes: int | None = Field(None, ge=1, validation_alias=_named("MAX_MODEL_BYTES"))
    graph_cache: bool = Field(True, validation_alias=_named("GRAPH_CACHE"))
    max_graph_cache_bytes: int = Field(
        MAX_GRAPH_CACHE_BYTES, ge=0, validation_alias=_named("MAX_GRAPH_CACHE_BYTES")
    )
    shared_threads: int | None = Field(
        None, ge=1, le=1024, validation_alias=_named("SHARED_THREADS")
    )
    inference_timeout: float = Field(30_000, gt=0, validation_alias=_named("INFERENCE_TIMEOUT"))
    max_batch_size: int = Field(10, ge=1, validation_alias=_named("MAX_BATCH_SIZE"))
    max_image_bytes: int = Field(MAX_IMAGE_BYTES, ge=1, validation_alias=_named("MAX_IMAGE_BYTES"))
    worker_processes: int = Field(1, ge=1, le=256, validation_alias=_named("WORKER_PROCESSES"))
    worker_threads: int | None = Field(
        None, ge=1, le=1024, validation_alias=_named("WORKER_THREADS")
    )
    worker_memory_bytes: int | None = Field(
        None, ge=1, validation_alias=_named("WORKER_MEMORY_BYTES")
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        "WARNING", validation_alias=_named("LOG_LEVEL")
    )
    host: str = Field("127.0.0.1", validation_alias=AliasChoices("WORKBENCH_HOST"))
    port: int = Field(3000, ge=0, le=65535, validation_alias=_named("PORT"))
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), validation_alias=_named("API_KEYS")
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", validation_alias=_named("LOG_FORMAT")
    )
    log_dir: Path | None = Field(None, validation_alias=_named("LOG_DIR"))
    workers: int | None = Field(None, ge=1, le=1024, validation_alias=_named("WORKERS"))
    preload_models: _Words = Field((), validation_alias=_named("PRELOAD_MODELS"))
    queue_limit: int = Field(64, ge=0, validation_alias=_named("QUEUE_LIMIT"))
    dynamic_batching: Literal["auto", "on", "off"] = Field(
        "auto", validation_alias=_named("DYNAMIC_BATCHING")
    )
    batch_delay: float = Field(2, ge=0, le=10_000, validation_alias=_named("BATCH_DELAY"))
    rate_limit: str = Field("", validation_alias=_named("RATE_LIMIT"))
    allowed_hosts: _Words = Field((), validation_alias=_named("ALLOWED_HOSTS"))
    cors_origins: _Words = Field((), validation_alias=_named("CORS_ORIGINS"))
    pull_sources: _Words = Field((), validation_alias=_named("PULL_SOURCES"))
    redis_url: SecretStr | None = Field(None, validation_alias=_named("REDIS_URL"))
    body_timeout: float = Field(30_000, gt=0, validation_alias=_named("BODY_TIMEOUT"))
    drain_timeout: float = Field(30_000, gt=0, validation_alias=_named("DRAIN_TIMEOUT"))
    tls_cert: Path | None = Field(None, validation_alias=_named("TLS_CERT"))
    tls_key: Path | None = Field(None, validation_alias=_named("TLS_KEY"))
    offline: bool = Field(False, validation_alias=_named("OFFLINE"))
    mirrors: _Words = Field((), validation_alias=_named("MIRRORS"))
    hf_endpoint: str = Field("https://huggingface.co", validation_alias=_named("HF_ENDPOINT"))
    hf_token: SecretStr | None = Field(None, validation_alias=_named("HF_TOKEN"))
    ipfs_gateways: _Words = Field(IPFS_GATEWAYS, validation_alias=_named("IPFS_GATEWAYS"))
    max_download_bytes: int = Field(
        MAX_DOWNLOAD_BYTES, ge=1, validation_alias=_named("MAX_DOWNLOAD_BYTES")
    )
    download_timeout: float = Field(3_600_000, gt=0, validation_alias=_named("DOWNLOAD_TIMEOUT"))
    allow_http: bool = Field(False, validation_alias=_named("ALLOW_HTTP"))
    allow_private: bool = Field(False, validation_alias=_named("ALLOW_PRIVATE"))
    ca_file: Path | None = Field(None, validation_alias=_named("CA_FILE"))
    no_color: str = Field("", validation_alias=AliasChoices("NO_COLOR"))

    def __init__(self, **given: Any) -> None:
        """Read the settings; keyword arguments win over everything.

        Raises
        ------
        ConfigError : a value that cannot be, with the name of its variable
        """
        fields = type(self).model_fields
        if unknown := next((name for name in given if name not in fields), None):
            raise ConfigError(
                "An argument of Settings", unknown, choices(fields), nearest(unknown, fields)
            )
        dotenv = nearest_ancestor(".env")
        try:
            # by their first alias, which wins over every variable; a field's own name would
            # also make pydantic read a variable of that name (shells set HOST)
            super().__init__(_env_file=dotenv, **{_alias(fields[n]): v for n, v in given.items()})
        except ValidationError as error:
            raise _problem(error.errors()[0], given) from error
        except UnicodeDecodeError as error:
            raise ConfigError(str(dotenv), error.object[:20], "text in UTF-8") from error

    @field_validator(
        "api_keys", "mirrors", "ipfs_gateways", "preload_models", "allowed_hosts",
        "cors_origins", "pull_sources", mode="before",
    )  # fmt: skip
    @classmethod
    def _split(cls, value: object) -> object:
        """Take keys, places or names, separated by commas."""
        if isinstance(value, str):
            return tuple(key.strip() for key in value.split(",") if key.strip())
        return value

    @field_validator("hf_endpoint", "ipfs_gateways")
    @classmethod
    def _servers(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        """Take addresses of servers without the slash at their end."""
        for text in (value,) if isinstance(value, str) else value:
            if not re.match(r"https?://[^/?#\s]+[^?#\s]*$", text):
                raise ValueError("the address of a server, such as https://example.org")
        return value.rstrip("/") if isinstance(value, str) else tuple(v.rstrip("/") for v in value)

    @field_validator("mirrors")
    @classmethod
    def _stores(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Take folders and servers; what would never be asked is refused."""
        if any("://" in v and not re.match(r"(https?|file)://", v) for v in value):
            raise ValueError("folders, or the addresses of servers (https://)")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("model_dir", "data_dir", "ca_file", "log_dir", "tls_cert", "tls_key")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        """Resolve ``~``, which only a shell would have done."""
        try:
            return None if value is None else value.expanduser()
        except RuntimeError as error:
            raise ValueError("a path; no user has the home folder it begins with") from error

    @property
    def timeout_s(self) -> float:
        """Limit of one run, in seconds."""
        return self.inference_timeout / 1000

    @property
    def download_timeout_s(self) -> float:
        """Limit of one pull, in seconds."""
        return self.download_timeout / 1000

    def _card(self) -> Card:
        rows = []
        for name in type(self).model_fields:
            value = getattr(self, name)
            given = "given" if name in self.model_fields_set else "default"
            rows.append((name, _text(name, value), given))
        return Card(
            "settings",
            (table_of(("setting", "value", "from"), rows, caption="Settings"),),
            line=", ".join(f"{n} {v}" for n, v, given in rows if given == "given") or "defaults",
        )


def _text(name: str, value: object) -> str:
    """Render the value of a setting; keys are counted, never shown."""
    match name, value:
        case "api_keys", tuple():
            return f"{count(len(value), 'key')} (hidden)"
        case "hf_token", SecretStr():
            return "(hidden)"
        case "redis_url", SecretStr():
            return without_credentials(value.get_secret_value())
        case "mirrors" | "ipfs_gateways" | "pull_sources", tuple():
            return ", ".join(map(without_credentials, value)) or "not set"
        case "preload_models" | "allowed_hosts" | "cors_origins", tuple():
            return ", ".join(map(str, value)) or "not set"
        case "hf_endpoint", str():
            return without_credentials(value)
        case _, None | "":
            return "not set"
        case (
            "inference_timeout"
            | "download_timeout"
            | "body_timeout"
            | "drain_timeout"
            | "batch_delay",
            float() | int(),
        ):
            return seconds(value / 1000)
        case (
            "max_model_bytes"
            | "max_image_bytes"
            | "max_download_bytes"
            | "max_graph_cache_bytes"
            | "worker_memory_bytes",
            int(),
        ):
            return size(value)
        case _:
            return str(value)


def without_credentials(address: str) -> str:
    """Return an address as it may be shown: without user, password, query and fragment.

    >>> without_credentials("https://me:secret@a.example/m.onnx?X-Amz-Signature=1#k")
    'https://a.example/m.onnx?…'
    >>> without_credentials("me:secret@a.example/m.onnx")
    'a.example/m.onnx'
    """
    scheme, mark, rest = address.partition("://")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme if mark else "", re.ASCII):
        # a path, or an address whose scheme was forgotten
        who, at, place = re.split(r"[/?#\\]", address, maxsplit=1)[0].rpartition("@")
        return place + address[len(who + at + place) :] if at and ":" in who else address
    place = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    host = place.rpartition("@")[2]
    if not re.fullmatch(r"(\[[^\]]*\]|[^:]*)(:\d*)?", host):
        return f"{scheme}://…"  # a password with a slash or the like in it: nothing can be told
    path, *query = re.split(r"[?#]", rest[len(place) :], maxsplit=1)
    return f"{scheme}://{host}{path}" + ("?…" if query else "")


def _alias(field: FieldInfo) -> str:
    alias = field.validation_alias
    assert isinstance(alias, AliasChoices)
    return str(alias.choices[0])


def _problem(problem: ErrorDetails, given: Mapping[str, object]) -> ConfigError:
    """Word what pydantic found, under the name that the user wrote."""
    variable = str(problem["loc"][0])
    bare = variable.removeprefix("WORKBENCH_")
    name = bare.lower() if bare.lower() in given else bare
    if bare == "HOST" and name == bare:
        name = variable
    seen = "(hidden)" if bare in ("API_KEYS", "HF_TOKEN", "REDIS_URL") else problem["input"]
    if bare in ("MIRRORS", "IPFS_GATEWAYS", "HF_ENDPOINT"):
        many = seen if isinstance(seen, (tuple, list)) else str(seen).split(",")
        shown = [without_credentials(str(place)) for place in many]
        seen = ",".join(s if "://" in s else s.rpartition("@")[2] for s in shown)
    words = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return ConfigError(name, seen, words[:1].lower() + words[1:])


def nearest_ancestor(name: str, start: Path | None = None) -> Path | None:
    """Return the first of ``start`` (the working directory) and its parents that has ``name``.

    None where none has it, or where the working directory has been deleted.
    """
    try:
        here = Path.cwd() if start is None else start.resolve()
    except OSError:
        return None
    # os.path.exists says no where a parent may not be looked into; Path.exists raises
    found = (f / name for f in (here, *here.parents) if os.path.exists(f / name))  # noqa: PTH110
    return next(found, None)


def default_variable(name: str, value: str) -> str:
    """Set an environment variable that another library reads, unless it is set; return it."""
    return os.environ.setdefault(name, value)


def pass_on(given: Settings, *names: str) -> None:
    """Write settings into the environment, so that processes started from here have them too."""
    for name in names:
        value = getattr(given, name)
        if value is not None:
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            if isinstance(value, SecretStr):
                text = value.get_secret_value()
            os.environ[_alias(Settings.model_fields[name])] = text


def audience(environ: Mapping[str, str] | None = None) -> str:
    """Say who else may sit before a notebook's browser; empty where it is only this machine.

    Voilà, JupyterHub, and a Jupyter server that listens beyond loopback are open to others.
    Whoever was started by a server of which nothing can be learnt is taken to be open as well.

    Source
    ------
    Voilà sets ``SERVER_SOFTWARE`` and ``VOILA_*`` for its kernels (voila/utils.py); Jupyter
    Server sets ``JPY_SESSION_NAME`` and writes ``jpserver-<pid>.json`` into its runtime folder
    (``ServerApp.server_info``); jupyter_client sets ``JPY_PARENT_PID`` to the server's.
    """
    env = os.environ if environ is None else environ
    if env.get("SERVER_SOFTWARE", "").startswith("voila") or any(
        name.startswith("VOILA_") for name in env
    ):
        return "Voilà serves this notebook to others"
    if "JUPYTERHUB_SERVICE_PREFIX" in env or "JUPYTERHUB_USER" in env:
        return "this notebook runs in a JupyterHub"
    parent = env.get("JPY_PARENT_PID", "")
    if not parent.isdigit():
        return ""  # no Jupyter server started this process
    from jupyter_core.paths import jupyter_runtime_dir

    runtime = env.get("JUPYTER_RUNTIME_DIR") or jupyter_runtime_dir()
    try:
        told = json.loads((Path(runtime) / f"jpserver-{parent}.json").read_text("utf-8"))
        hosts = {str(told["hostname"]), urlsplit(str(told["url"])).hostname or ""}
        port = int(told["port"])
    except (OSError, ValueError, KeyError, TypeError):
        if "JPY_SESSION_NAME" in env:
            return "a Jupyter server started this notebook and does not say where it listens"
        return ""  # nbconvert, a console: a kernel without a server
    if told.get("sock"):
        return ""  # a socket in the file system
    if strange := sorted(host for host in hosts if not is_loopback(host)):
        return f"the Jupyter server listens on {strange[0]}, beyond this machine"
    if _open_ports(port):  # asked for all addresses, older servers write "localhost"
        return "the Jupyter server listens beyond this machine"
    return ""


def is_loopback(host: str) -> bool:
    """Say whether a name or an address is this machine's alone."""
    from ipaddress import ip_address

    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _open_ports(port: int, tables: Iterable[Path] | None = None) -> bool:
    """Say whether anything listens on a port beyond loopback; False where Linux does not tell."""
    loopback = re.compile(r"^(.{6}7F|0{24}01000000|0{16}(0000FFFF|FFFF0000).{6}7F)$")
    for table in tables or (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        try:
            lines = table.read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, _, state, *_ = line.split()
            address, _, number = local.partition(":")
            if state == "0A" and int(number, 16) == port and not loopback.match(address):
                return True
    return False


def data_folder() -> Path:
    """Return the user's data folder for this project (it need not exist)."""
    from platformdirs import user_data_path

    return user_data_path(FOLDER, appauthor=False)


def cache_folder() -> Path:
    """Return the user's cache folder for this project (it need not exist)."""
    from platformdirs import user_cache_path

    return user_cache_path(FOLDER, appauthor=False)


@cache
def settings() -> Settings:
    """Return the process's settings, read once."""
    return Settings()
