"""docker-compose.yml: it is Compose, its files are there, and its parts fit each other."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.deploy import dockerfile
from tests.deploy.dockerfile import ROOT
from workbench.service.depot import connected
from workbench.service.policy import Policy
from workbench.settings import Settings

#: The Compose specification; where it comes from stands in it.
SPECIFICATION = json.loads(Path(__file__).with_name("compose_spec.json").read_text("utf-8"))
TEXT = (ROOT / "docker-compose.yml").read_text("utf-8")
SECRETS = {"CLIENT_KEY": "c" * 48, "METRICS_KEY": "m" * 48, "GRAFANA_PASSWORD": "g" * 24}
_VARIABLE = re.compile(r"\$\{(\w+)(?:(:[-?])([^}]*))?\}")


def interpolated(text: str, **given: str) -> Any:
    """Read the file as Compose does, with variables; KeyError for one that is demanded."""

    def value(found: re.Match[str]) -> str:
        name, mark, word = found.groups()
        if given.get(name):
            return given[name]
        if mark != ":-":
            raise KeyError(name)
        return word

    return yaml.safe_load(_VARIABLE.sub(value, text))


COMPOSE = interpolated(TEXT, **SECRETS)
SERVICES = COMPOSE["services"]


def test_it_is_what_the_specification_demands():
    jsonschema.validate(COMPOSE, SPECIFICATION)
    assert set(SERVICES) == {"workbench", "worker", "redis", "prometheus", "grafana"}


def test_the_specification_would_find_a_slip():
    wrong = json.loads(json.dumps(COMPOSE))
    wrong["services"]["redis"]["helthcheck"] = wrong["services"]["redis"].pop("healthcheck")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SPECIFICATION)
    assert "healthcheck" in SERVICES["redis"]


@pytest.mark.parametrize("missing", SECRETS)
def test_it_does_not_start_without_its_secrets(missing):
    with pytest.raises(KeyError, match=missing):
        interpolated(TEXT, **{k: v for k, v in SECRETS.items() if k != missing})
    assert f"{missing}=%s" in TEXT, "the line that makes them"


def test_what_is_named_is_defined():
    for name, service in SERVICES.items():
        assert set(service["networks"]) <= set(COMPOSE["networks"]), name
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"]), name
        for other in service.get("depends_on", ()):
            assert other in SERVICES
        for volume in service.get("volumes", ()):
            source, target, *_ = volume.split(":")
            assert target.startswith("/")
            if source.startswith("."):
                assert (ROOT / source).exists(), source
            else:
                assert source in COMPOSE["volumes"], source
        assert "image" in service
        assert service["image"] == "onnx-workbench" or re.search(r":v?\d", service["image"])
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), "others come through a proxy"


def environment(**more: str) -> dict[str, str]:
    return interpolated(TEXT, **SECRETS, **more)["services"]["workbench"]["environment"]


def test_its_settings_are_settings_and_make_a_policy(monkeypatch, tmp_path):
    known = {str(c) for f in Settings.model_fields.values() for c in f.validation_alias.choices}
    assert set(environment()) <= known
    monkeypatch.chdir(tmp_path)
    inside = dockerfile.variables() | environment(MAX_BATCH_SIZE="4", ALLOWED_HOSTS="a.example")
    for name in known & set(inside):
        monkeypatch.setenv(name, inside[name])
    given = Settings()
    policy = Policy.of(given)
    assert given.preload_models == ("cifar10",)
    assert (policy.max_batch, policy.max_image_bytes) == (4, 10_000_000)
    assert policy.knows_host("workbench")
    assert policy.knows_host("a.example")
    assert policy.knows_host("127.0.0.1")
    for key, name in (("CLIENT_KEY", "client"), ("METRICS_KEY", "prometheus")):
        sent = [(b"authorization", f"Bearer {SECRETS[key]}".encode())]
        assert policy.keys.holder(sent) == name
    assert policy.keys.holder([(b"authorization", b"Bearer wrong-key-of-some-length")]) is None


def test_it_is_the_image_s_port_and_its_volumes():
    port = dockerfile.variables()["PORT"]
    assert SERVICES["workbench"]["ports"][0].endswith(f":{port}")
    targets = [volume.split(":")[1] for volume in SERVICES["workbench"]["volumes"]]
    assert targets == dockerfile.listed("VOLUME")
    assert (ROOT / SERVICES["workbench"]["build"] / "Dockerfile").is_file()


def test_it_waits_for_longer_than_the_service_drains():
    drain_ms = float(SERVICES["workbench"]["environment"]["DRAIN_TIMEOUT"])
    assert int(SERVICES["workbench"]["stop_grace_period"].rstrip("s")) > drain_ms / 1000


def test_who_waits_for_health_waits_for_something_that_tells_it():
    assert SERVICES["prometheus"]["depends_on"]["workbench"]["condition"] == "service_healthy"
    assert dockerfile.of("HEALTHCHECK")
    assert SERVICES["redis"]["healthcheck"]["test"] == ["CMD", "redis-cli", "ping"]


def test_the_jobs_of_the_service_are_the_worker_s_and_nobody_else_reaches_them():
    service, worker = SERVICES["workbench"], SERVICES["worker"]
    known = {str(c) for f in Settings.model_fields.values() for c in f.validation_alias.choices}
    assert set(worker["environment"]) <= known
    assert service["environment"]["REDIS_URL"] == worker["environment"]["REDIS_URL"]
    assert (
        connected(worker["environment"]["REDIS_URL"]).connection_pool.connection_kwargs["host"]
        in SERVICES
    )
    assert service["volumes"] == worker["volumes"]
    assert worker["command"] == ["worker"]
    inside = {name for name, one in SERVICES.items() if "queue" in one["networks"]}
    assert inside == {"workbench", "worker", "redis"}
    assert SERVICES["redis"]["networks"] == ["queue"]
    assert "jobs" in " ".join(dockerfile.of("RUN"))


def test_prometheus_finds_the_service_and_its_key():
    read = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text("utf-8"))
    (job,) = read["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert job["static_configs"] == [{"targets": [f"workbench:{dockerfile.variables()['PORT']}"]}]
    (secret,) = SERVICES["prometheus"]["secrets"]
    assert job["authorization"]["credentials_file"] == f"/run/secrets/{secret}"
    assert COMPOSE["secrets"][secret] == {"environment": "METRICS_KEY"}
    mounted = [volume.split(":")[1] for volume in SERVICES["prometheus"]["volumes"]]
    options = dict(o.removeprefix("--").split("=") for o in SERVICES["prometheus"]["command"])
    assert options["config.file"] in mounted
    assert options["storage.tsdb.path"] in mounted
