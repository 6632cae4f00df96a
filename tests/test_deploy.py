"""compose.yaml, the Dockerfile and the Helm values: what can be told without starting them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from .helpers import ROOT

# Of the Compose specification, from PyPI's docker-compose 1.29.2 (Apache License 2.0).
SCHEMA = json.loads((Path(__file__).parent / "compose_spec.json").read_text())
# What the chart (milvus-helm 4.2.45) knows, of what we set or are likely to.
NODE = {
    "enabled",
    "replicas",
    "resources",
    "nodeSelector",
    "tolerations",
    "extraEnv",
    "disk",
    "hpa",
}
CHART = {
    "cluster": {"enabled"},
    "image": {"all", "tools"},
    "service": {"type", "port", "portName", "nodePort", "annotations", "labels"},
    "extraConfigFiles": {"user.yaml"},
    "proxy": NODE,
    "mixCoordinator": NODE - {"disk", "hpa"},
    "queryNode": NODE,
    "indexNode": NODE,
    "dataNode": NODE - {"disk"},
    "etcd": {"enabled", "replicaCount", "persistence", "auth", "image", "extraEnvVars"},
    "minio": {"enabled", "mode", "existingSecret", "bucketName", "rootPath", "persistence"},
    "pulsarv3": {"enabled"},
    "metrics": {"enabled", "serviceMonitor"},
}
PASSWORD = re.compile(r"\$\{\w+:\?.+\}")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return loaded


def test_the_compose_file_keeps_to_the_specification(compose: dict[str, Any]) -> None:
    jsonschema.Draft7Validator(SCHEMA).validate(compose)
    compose["services"]["milvus"]["port"] = compose["services"]["milvus"].pop("ports")
    with pytest.raises(jsonschema.ValidationError, match=r"'port' does not match"):
        jsonschema.Draft7Validator(SCHEMA).validate(compose)
    compose["services"]["milvus"]["ports"] = compose["services"]["milvus"].pop("port")


def test_services_are_pinned_checked_kept_and_closed(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"etcd", "minio", "milvus", "dashboard"}
    used = set()
    for name, service in compose["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
        used |= {volume.split(":")[0] for volume in service["volumes"]}
        if name != "dashboard":
            assert re.search(r":(v\d|RELEASE)[\w.\-]+$", service["image"]), name
            assert service["healthcheck"]["test"][0] == "CMD"
        for dependency, how in service.get("depends_on", {}).items():
            assert dependency in compose["services"]
            assert how == {"condition": "service_healthy"}
    assert set(compose["volumes"]) <= used


def test_no_password_is_written_down(compose: dict[str, Any]) -> None:
    found = 0
    for service in compose["services"].values():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN", key):
                assert PASSWORD.fullmatch(value.removeprefix("root:")), key
                found += 1
    assert found == 5


def test_the_image_runs_as_an_ordinary_user() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    words = [line.split()[0] for line in lines if line[:1].isupper()]
    assert words.index("USER") < words.index("CMD")
    assert "root" not in lines[[line.split()[:1] for line in lines].index(["USER"])]
    assert "HEALTHCHECK" in words
    for line in lines:
        if line.startswith("COPY "):
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), source
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert not any("env" in line for line in ignored if line.startswith("!"))


def test_the_image_has_all_that_the_package_is_built_from(tmp_path: Path) -> None:
    """What the Dockerfile copies is enough for `pip install .`."""
    where = tmp_path / "app"
    (where / "out").mkdir(parents=True)
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY "):
            *sources, target = line.split()[1:]
            for source in sources:
                if (ROOT / source).is_dir():
                    (where / source).symlink_to(ROOT / source)
                else:
                    shutil.copy(ROOT / source, where / target)
    code = "from hatchling import build; build.prepare_metadata_for_build_wheel('out')"
    subprocess.run([sys.executable, "-c", code], cwd=where, check=True, timeout=120)
    told = next((where / "out").glob("*.dist-info")) / "METADATA"
    assert "Requires-Dist: streamlit" in told.read_text()


def test_helm_values_are_what_the_chart_knows() -> None:
    values = yaml.safe_load((ROOT / "deploy" / "milvus-values.yaml").read_text())
    for section, held in values.items():
        assert set(held) <= CHART[section], section
    for node in ("proxy", "queryNode", "indexNode", "dataNode", "mixCoordinator"):
        assert values[node]["replicas"] >= 1
        assert {"cpu", "memory"} <= set(values[node]["resources"]["requests"])
    inner = yaml.safe_load(values["extraConfigFiles"]["user.yaml"])
    assert inner == {"common": {"security": {"authorizationEnabled": True}}}
    assert not {"accessKey", "secretKey"} & set(values["minio"])
