"""Where settings come from, and what is said about those that cannot be."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from workbench import settings
from workbench.errors import ConfigError
from workbench.settings import Settings, nearest_ancestor

#: field: variable, text of a value, the value
READ = {
    "model_dir": ("MODEL_DIR", "shelf", Path("shelf")),
    "data_dir": ("DATA_DIR", "data", Path("data")),
    "max_models_in_memory": ("MAX_MODELS_IN_MEMORY", "7", 7),
    "max_model_bytes": ("MAX_MODEL_BYTES", "1000", 1000),
    "graph_cache": ("GRAPH_CACHE", "false", False),
    "max_graph_cache_bytes": ("MAX_GRAPH_CACHE_BYTES", "0", 0),
    "shared_threads": ("SHARED_THREADS", "3", 3),
    "worker_processes": ("WORKER_PROCESSES", "2", 2),
    "worker_threads": ("WORKER_THREADS", "3", 3),
    "worker_memory_bytes": ("WORKER_MEMORY_BYTES", "900000000", 900_000_000),
    "inference_timeout": ("INFERENCE_TIMEOUT", "1500", 1500.0),
    "max_batch_size": ("MAX_BATCH_SIZE", "4", 4),
    "max_image_bytes": ("MAX_IMAGE_BYTES", "2000", 2000),
    "log_level": ("LOG_LEVEL", "debug", "DEBUG"),
    "port": ("PORT", "0", 0),
    "log_format": ("LOG_FORMAT", "json", "json"),
    "log_dir": ("LOG_DIR", "logs", Path("logs")),
    "workers": ("WORKERS", "3", 3),
    "preload_models": ("PRELOAD_MODELS", "a, b", ("a", "b")),
    "queue_limit": ("QUEUE_LIMIT", "0", 0),
    "dynamic_batching": ("DYNAMIC_BATCHING", "on", "on"),
    "batch_delay": ("BATCH_DELAY", "0.5", 0.5),
    "rate_limit": ("RATE_LIMIT", "10/second", "10/second"),
    "allowed_hosts": ("ALLOWED_HOSTS", "lab.example", ("lab.example",)),
    "cors_origins": ("CORS_ORIGINS", "https://lab.example", ("https://lab.example",)),
    "pull_sources": ("PULL_SOURCES", "catalogue,ipfs", ("catalogue", "ipfs")),
    "body_timeout": ("BODY_TIMEOUT", "2500", 2500.0),
    "drain_timeout": ("DRAIN_TIMEOUT", "2500", 2500.0),
    "tls_cert": ("TLS_CERT", "cert.pem", Path("cert.pem")),
    "tls_key": ("TLS_KEY", "key.pem", Path("key.pem")),
    "offline": ("OFFLINE", "true", True),
    "mirrors": ("MIRRORS", "/srv/models, https://m.example", ("/srv/models", "https://m.example")),
    "hf_endpoint": ("HF_ENDPOINT", "https://hf.example/", "https://hf.example"),
    "ipfs_gateways": ("IPFS_GATEWAYS", "http://127.0.0.1:1", ("http://127.0.0.1:1",)),
    "max_download_bytes": ("MAX_DOWNLOAD_BYTES", "3000", 3000),
    "download_timeout": ("DOWNLOAD_TIMEOUT", "2500", 2500.0),
    "allow_http": ("ALLOW_HTTP", "1", True),
    "allow_private": ("ALLOW_PRIVATE", "yes", True),
    "ca_file": ("CA_FILE", "ca.pem", Path("ca.pem")),
}
every = pytest.mark.parametrize("field", READ)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_defaults_are_those_of_the_documentation():
    given = Settings()
    text = (Path(settings.__file__).parent.parent / ".env.example").read_text(encoding="utf-8")
    for name, value in re.findall(r"^# ([A-Z_]+)=(.*)$", text, re.MULTILINE):
        default = getattr(given, name.removeprefix("WORKBENCH_").lower())
        shown = (
            ""
            if default in (None, ())
            else ",".join(default)
            if isinstance(default, tuple)
            else str(default).lower()
            if isinstance(default, bool)
            else f"{default:.0f}"
            if isinstance(default, float)
            else str(default)
        )
        assert value == shown, name


@every
def test_a_variable_is_read_under_its_bare_name(field, monkeypatch):
    name, text, value = READ[field]
    monkeypatch.setenv(name, text)
    assert getattr(Settings(), field) == value


@every
def test_the_prefixed_name_wins_over_the_bare_one(field, monkeypatch):
    name, text, value = READ[field]
    monkeypatch.setenv(name, "nonsense")
    monkeypatch.setenv(f"WORKBENCH_{name}", text)
    assert getattr(Settings(), field) == value


@every
def test_an_argument_wins_over_everything(field, monkeypatch, folder):
    name, _, value = READ[field]
    monkeypatch.setenv(f"WORKBENCH_{name}", "nonsense")
    (folder / ".env").write_text(f"{name}=nonsense\n")
    assert getattr(Settings(**{field: value}), field) == value


@every
def test_a_variable_wins_over_the_file_and_the_file_over_the_default(field, monkeypatch, folder):
    name, text, value = READ[field]
    (folder / ".env").write_text(f"{name}={text}\n")
    assert getattr(Settings(), field) == value
    (folder / ".env").write_text(f"WORKBENCH_{name}=nonsense\n")
    monkeypatch.setenv(name, text)
    assert getattr(Settings(), field) == value


def test_every_field_is_tried_here():
    others = {"host", "api_keys", "hf_token", "redis_url", "no_color"}
    assert set(READ) | others == set(Settings.model_fields)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://me:p@ss@h.example/x?sig=1", "https://h.example/x?…"),
        ("https://me:SECRET/1@h.example/x", "https://…"),
        ("https://me:SECRET?1@h.example/x", "https://…"),
        ("https://[::1]:8080/x#k", "https://[::1]:8080/x?…"),
        ("hf://org/net@main/m.onnx", "hf://org/net@main/m.onnx"),
        ("resnet18-v2-7", "resnet18-v2-7"),
    ],
)
def test_an_address_is_shown_without_credentials(address, shown):
    assert settings.without_credentials(address) == shown


def test_no_credential_is_shown(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_SECRET")
    monkeypatch.setenv("MIRRORS", "https://me:SECRET@m.example/a?sig=SECRET,/srv/models")
    given = Settings()
    assert given.hf_token.get_secret_value() == "hf_SECRET"
    assert "https://m.example/a?…, /srv/models" in str(given)
    assert "SECRET" not in str(given) + repr(given) + given._repr_html_()


@pytest.mark.parametrize("place", ["ftp://m.example/x", "me:SECRET@m.example://x", "s3://lab"])
def test_a_mirror_that_would_never_be_asked_is_refused(monkeypatch, place):
    monkeypatch.setenv("MIRRORS", f"/srv/models,{place}")
    with pytest.raises(ConfigError, match="MIRRORS") as caught:
        Settings()
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("name", ["IPFS_GATEWAYS", "HF_ENDPOINT"])
def test_a_server_that_is_none_is_told_without_its_credentials(monkeypatch, name):
    monkeypatch.setenv(name, "me:SECRET@m.example")
    with pytest.raises(ConfigError, match=name) as caught:
        Settings()
    assert "SECRET" not in str(caught.value)
    assert "m.example" in str(caught.value)


@pytest.mark.parametrize("text", ["ftp://a.example", "hf", "https://", "https://a.example/?x=1"])
def test_a_server_is_named_by_its_address(text, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", text)
    with pytest.raises(ConfigError, match=r"^HF_ENDPOINT is .*the address of a server"):
        Settings()


def test_a_gateway_with_credentials_is_not_shown_when_it_cannot_be(monkeypatch):
    monkeypatch.setenv("IPFS_GATEWAYS", "https://me:SECRET@g.example?x=SECRET")
    with pytest.raises(ConfigError) as caught:
        Settings()
    assert "SECRET" not in str(caught.value)


def test_the_file_of_the_nearest_ancestor_is_taken(folder, monkeypatch):
    (folder / ".env").write_text("PORT=1\nOTHER_PROGRAM=x\n")
    (folder / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(folder / "a" / "b")
    assert Settings().port == 1
    (folder / "a" / ".env").write_text("PORT=2\n")
    assert Settings().port == 2


def test_a_folder_named_like_the_file_is_no_file(folder):
    (folder / ".env").mkdir()
    assert Settings().port == 3000


def test_a_file_in_another_encoding_is_an_error_with_its_path(folder):
    (folder / ".env").write_bytes(b"API_KEYS=\xff\xfe\n")
    with pytest.raises(ConfigError, match=r"\.env is .*; expected text in UTF-8\."):
        Settings()


def test_an_empty_variable_is_none_at_all(monkeypatch):
    monkeypatch.setenv("WORKBENCH_PORT", "")
    assert Settings().port == 3000


def test_the_host_has_only_its_long_name(monkeypatch, folder):
    monkeypatch.setenv("HOST", "my-laptop")
    monkeypatch.setenv("host", "my-laptop")
    (folder / ".env").write_text("HOST=my-laptop\n")
    assert Settings().host == "127.0.0.1"
    monkeypatch.setenv("WORKBENCH_HOST", "0.0.0.0")
    assert Settings().host == "0.0.0.0"
    assert Settings(host="::1").host == "::1"


def test_keys_are_separated_by_commas_and_never_shown(monkeypatch):
    monkeypatch.setenv("API_KEYS", "first, second,,")
    given = Settings()
    assert [key.get_secret_value() for key in given.api_keys] == ["first", "second"]
    assert "first" not in repr(given) + str(given)


def test_a_key_that_cannot_be_is_not_shown_either():
    with pytest.raises(ConfigError) as caught:
        Settings(api_keys=(123456789,))
    assert "123456789" not in str(caught.value) + str(caught.value.__cause__)


def test_no_color_has_only_the_name_that_all_programs_share(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert Settings().no_color == "1"


def test_the_home_folder_is_resolved(monkeypatch, folder):
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    assert Settings(model_dir="~/shelf").model_dir == folder / "shelf"


def test_times_are_milliseconds_outside_and_seconds_inside():
    assert Settings(inference_timeout=1500).timeout_s == 1.5


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "PORT",
            "many",
            "PORT is 'many'; expected a valid integer, unable to parse string as an integer.",
        ),
        ("PORT", "70000", "PORT is '70000'; expected less than or equal to 65535."),
        ("MAX_BATCH_SIZE", "0", "MAX_BATCH_SIZE is '0'; expected greater than or equal to 1."),
        ("INFERENCE_TIMEOUT", "nan", "INFERENCE_TIMEOUT is 'nan'; expected greater than 0."),
        ("INFERENCE_TIMEOUT", "-5", "INFERENCE_TIMEOUT is '-5'; expected greater than 0."),
        (
            "LOG_LEVEL",
            "loud",
            "LOG_LEVEL is 'LOUD'; expected 'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL'.",
        ),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_named_with_its_variable(name, value, message, monkeypatch):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        Settings()
    assert str(caught.value) == message


def test_a_bad_argument_is_named_as_it_was_written():
    with pytest.raises(ConfigError, match=r"^port is 'x'; expected a valid integer"):
        Settings(port="x")


def test_an_unknown_argument_suggests_the_nearest():
    with pytest.raises(
        ConfigError, match=r"is 'prt'; expected 'model_dir'.*Did you mean 'port'\?$"
    ):
        Settings(prt=1)


def test_settings_are_frozen():
    with pytest.raises(ValidationError):
        Settings().port = 1


def test_a_processs_settings_are_read_once(monkeypatch):
    first = settings.settings()
    monkeypatch.setenv("PORT", "1")
    assert settings.settings() is first


def test_the_folders_of_the_user_are_named_after_the_project(folder, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    assert settings.cache_folder().name == "workbench"
    assert settings.data_folder().name == "workbench"
    assert not settings.cache_folder().exists(), "looking does not make it"


def test_an_ancestor_is_sought_from_the_place_itself_upwards(folder):
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "mark").mkdir()
    assert nearest_ancestor("mark", folder / "a" / "b") == (folder / "a" / "mark").resolve()
    assert nearest_ancestor("mark", folder / "a") == (folder / "a" / "mark").resolve()
    assert nearest_ancestor("no such name anywhere", folder) is None


@pytest.mark.skipif(os.name != "posix", reason="platform: a folder in use can be deleted")
def test_a_working_directory_that_has_been_deleted_has_no_ancestors(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert nearest_ancestor(".env") is None
    assert Settings().max_batch_size == 10


def test_a_home_folder_that_nobody_has_is_an_error_with_its_variable(monkeypatch):
    monkeypatch.setenv("MODEL_DIR", "~no_such_user/models")
    with pytest.raises(ConfigError, match=r"^MODEL_DIR is .*; expected a path; no user has"):
        Settings()


# ── who else may sit before the browser ───────────────────────────────────────────────────────


def server(folder: Path, hostname: str, url: str = "http://localhost:8888/", **more: object):
    """Write what a running Jupyter server writes, and return a kernel's environment."""
    told = {"hostname": hostname, "url": url, "port": 8888, "sock": "", **more}
    (folder / "jpserver-42.json").write_text(json.dumps(told))
    return {
        "JPY_PARENT_PID": "42",
        "JPY_SESSION_NAME": "a.ipynb",
        "JUPYTER_RUNTIME_DIR": str(folder),
    }


@pytest.fixture
def no_ports(monkeypatch):
    monkeypatch.setattr(settings, "_open_ports", lambda port: False)


def test_without_a_server_nobody_else_is_there(folder):
    assert settings.audience({}) == ""
    assert settings.audience({"JPY_PARENT_PID": "1", "JUPYTER_RUNTIME_DIR": str(folder)}) == ""


@pytest.mark.parametrize(
    ("hostname", "url"),
    [("localhost", "http://localhost:8888/"), ("127.0.0.1", "http://127.0.0.1:8888/"),
     ("::1", "http://[::1]:8888/")],
)  # fmt: skip
def test_a_server_on_loopback_is_this_machine_alone(folder, no_ports, hostname, url):
    assert settings.audience(server(folder, hostname, url)) == ""


@pytest.mark.parametrize(
    ("hostname", "url"),
    [("0.0.0.0", "http://box:8888/"), ("::", "http://box:8888/"), ("10.0.0.5", "http://10.0.0.5/"),
     ("localhost", "http://box:8888/"), ("box.example.org", "http://box.example.org/")],
)  # fmt: skip
def test_a_server_beyond_loopback_is_open_to_others(folder, no_ports, hostname, url):
    assert "listens on" in settings.audience(server(folder, hostname, url))


def test_a_server_that_says_localhost_and_listens_everywhere_is_found_out(folder, monkeypatch):
    monkeypatch.setattr(settings, "_open_ports", lambda port: port == 8888)
    assert "beyond this machine" in settings.audience(server(folder, "localhost"))


def test_a_server_behind_a_socket_of_the_file_system_is_this_machine_alone(folder):
    env = server(folder, "localhost", "http+unix://%2Ftmp%2Fs/", sock="/tmp/s")
    assert settings.audience(env) == ""


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"hostname": "localhost"}', "nonsense"])
def test_a_server_of_which_nothing_is_learnt_is_taken_to_be_open(folder, text):
    env = server(folder, "localhost")
    (folder / "jpserver-42.json").write_text(text)
    assert "does not say" in settings.audience(env)


@pytest.mark.parametrize(
    ("env", "word"),
    [({"SERVER_SOFTWARE": "voila/0.5.8"}, "Voilà"), ({"VOILA_BASE_URL": "/"}, "Voilà"),
     ({"JUPYTERHUB_SERVICE_PREFIX": "/user/a/"}, "JupyterHub"),
     ({"JUPYTERHUB_USER": "a"}, "JupyterHub")],
)  # fmt: skip
def test_voila_and_a_hub_are_open_to_others(env, word):
    assert word in settings.audience(env)


@pytest.mark.parametrize(
    ("address", "open_"),
    [("0100007F", False), ("00000000", True), ("0500000A", True),
     ("00000000000000000000000001000000", False), ("00000000000000000000000000000000", True),
     ("0000000000000000FFFF00000100007F", False), ("0000000000000000FFFF00000500000A", True)],
)  # fmt: skip
def test_what_listens_is_read_from_the_tables_of_linux(tmp_path, address, open_):
    head = "  sl  local_address rem_address   st tx_queue\n"
    table = tmp_path / "tcp"
    table.write_text(f"{head}   0: {address}:22B8 00000000:0000 0A 0:0\n")
    assert settings._open_ports(8888, [tmp_path / "none", table]) is open_
    assert settings._open_ports(8889, [table]) is False
    table.write_text(f"{head}   0: {address}:22B8 00000000:0000 01 0:0\n")
    assert settings._open_ports(8888, [table]) is False, "a connection is no listener"


def test_the_address_of_redis_is_shown_and_told_without_its_password(monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://me:hush-hush@store.example:6379/0")
    given = Settings()
    assert given.redis_url is not None
    assert given.redis_url.get_secret_value() == "redis://me:hush-hush@store.example:6379/0"
    for shown in (repr(given), str(given), given._repr_html_()):
        assert "hush-hush" not in shown
    assert "redis://store.example:6379/0" in str(given)
    monkeypatch.setenv("WORKBENCH_REDIS_URL", "")
    settings.pass_on(given, "redis_url")
    assert os.environ["WORKBENCH_REDIS_URL"] == "redis://me:hush-hush@store.example:6379/0"
