"""Dockerfile and compose files, read and linted; nothing is started."""

from __future__ import annotations

import json
import lzma
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.cluster.compose import BASE, GPU, ROOT, compose_command, compose_config

SERVICES = {"db", "mlflow", "ray-head", "worker"}
OURS = SERVICES - {"db"}


@pytest.fixture(scope="module")
def base() -> dict[str, Any]:
    """The base file, parsed."""
    if compose_command() is None:
        pytest.skip("no Docker Compose 2 (.ci/cluster-tools installs it)")
    return compose_config()


@pytest.fixture(scope="module")
def gpu(base: dict[str, Any]) -> dict[str, Any]:
    """Base and GPU files, merged."""
    return compose_config(BASE, GPU)


def _tool(name: str) -> str:
    path = Path(sys.executable).parent / name
    if not path.exists():
        pytest.skip(f"{name} is not installed: pip install '.[test]'")
    return str(path)


def test_dockerfile_is_lint_free() -> None:
    done = subprocess.run([_tool("hadolint"), "Dockerfile"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", [BASE, GPU])
def test_compose_files_obey_the_schema(name: str) -> None:
    command = [_tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("files", [[BASE], [BASE, GPU]])
def test_compose_says_nothing_against_the_files(base: dict[str, Any], files: list[str]) -> None:
    options = [option for name in files for option in ("--file", name)]
    command = [*(compose_command() or []), *options, "config", "--quiet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_image_tag_is_pinned(base: dict[str, Any]) -> None:
    images = {service["image"] for service in base["services"].values()}
    images |= set(re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    assert len(images) == 3
    for image in images:
        assert re.search(r":\d+\.\d+(\.\d+)?(-[a-z-]+)?$", image), image


def test_base_file_asks_for_no_gpu_and_the_other_for_one_worker_with_all(
    base: dict[str, Any], gpu: dict[str, Any]
) -> None:
    assert set(base["services"]) == SERVICES
    assert "gpu" not in json.dumps(base["services"]).replace("--num-gpus=0", "")
    worker = gpu["services"]["gpu-worker"]
    assert worker["deploy"]["replicas"] == 1
    [device] = worker["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert not any("--num-gpus" in part for part in worker["command"])  # Ray counts what the container sees
    assert all(gpu["services"][name] == base["services"][name] for name in SERVICES)


def test_gpu_worker_takes_the_cores_that_a_host_has(gpu: dict[str, Any]) -> None:
    worker = gpu["services"]["gpu-worker"]
    assert "cpus" not in worker and not any("--num-cpus" in part for part in worker["command"])
    chosen = compose_config(BASE, GPU, settings={"GPU_WORKER_CPUS": "6"})["services"]["gpu-worker"]
    assert chosen["cpus"] == 6 and "--num-cpus=6" in chosen["command"]


def test_files_need_no_newer_engine_than_they_say(base: dict[str, Any]) -> None:
    # Compose refuses start_interval on every Engine before 25.
    assert not any("start_interval" in service["healthcheck"] for service in base["services"].values())


def test_only_the_ui_is_published_and_only_to_this_machine(base: dict[str, Any]) -> None:
    ports = [(name, port) for name, service in base["services"].items() for port in service.get("ports", [])]
    [(name, port)] = ports
    assert (name, port["host_ip"], port["target"]) == ("mlflow", "127.0.0.1", 5000)


def test_networks_lead_nowhere_but_to_the_ui(base: dict[str, Any]) -> None:
    assert {name for name, network in base["networks"].items() if not network.get("internal")} == {"ui"}
    assert base["networks"]["ui"]["driver_opts"] == {"com.docker.network.bridge.enable_ip_masquerade": "false"}
    members = {name: set(service["networks"]) for name, service in base["services"].items()}
    assert members == {
        "db": {"backend"},
        "mlflow": {"backend", "cluster", "ui"},
        "ray-head": {"backend", "cluster"},
        "worker": {"cluster"},
    }


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_container_can_do_little(base: dict[str, Any], name: str) -> None:
    service = base["services"][name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged") and "network_mode" not in service
    assert service["user"] == ("999:999" if name == "db" else "10001:10001")
    assert service["mem_limit"] and service["pids_limit"]
    assert service["healthcheck"]["test"]
    assert service["restart"] == "unless-stopped"
    for volume in service["volumes"]:
        assert volume["type"] == "volume" or volume["read_only"], volume


@pytest.mark.parametrize("name", ["ray-head", "worker"])
def test_a_node_has_time_to_drain_and_room_for_its_object_store(base: dict[str, Any], name: str) -> None:
    service = base["services"][name]
    assert service["stop_grace_period"] == "45s"
    [size] = [part.split("=")[1] for part in service["command"] if part.startswith("--object-store-memory=")]
    assert int(size) < int(service["shm_size"])


def test_head_runs_no_trial_and_keeps_its_dashboard_to_itself(base: dict[str, Any]) -> None:
    command = base["services"]["ray-head"]["command"]
    assert {"--num-cpus=0", "--num-gpus=0", "--dashboard-host=127.0.0.1"} <= set(command)


def test_no_secret_stands_in_the_parsed_files(gpu: dict[str, Any]) -> None:
    secrets = {name: entry.pop("file") for name, entry in gpu["secrets"].items()}
    assert {Path(path).parent.name for path in secrets.values()} == {"secrets"}
    for service in gpu["services"].values():
        for key, value in service.get("environment", {}).items():
            if re.search("password|token|secret", key, re.IGNORECASE) and key != "RAY_AUTH_TOKEN_PATH":
                assert value.startswith("/run/secrets/"), key
    text = json.dumps(gpu)
    assert not re.search(r"://[^/\s@]*:[^/\s@]*@", text)  # a user with a password
    assert not re.search(r"[0-9a-fA-F]{32}", text)


def test_example_settings_are_the_defaults() -> None:
    text = "".join((ROOT / name).read_text() for name in (BASE, GPU))
    defaults = dict(re.findall(r"\$\{(\w+):-([^}$]+)\}", text))
    lines = [line for line in (ROOT / ".env.example").read_text().splitlines() if line and line[0] != "#"]
    optional = {"GPU_WORKER_CPUS", "STUDY_MLFLOW_PAGE"}
    assert dict(line.split("=", 1) for line in lines) == {k: v for k, v in defaults.items() if k not in optional}


def test_image_holds_everything_the_package_needs() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    copied = set(re.findall(r"^COPY (\w+) ", dockerfile, re.MULTILINE))
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    packages |= {"search_spaces"}
    assert copied == packages
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{name}" for name in copied} <= set(ignored) and "*" in ignored
    assert "COPY study study" in dockerfile.partition("pip install")[2]  # dependencies before code


def test_image_pins_what_the_project_depends_on() -> None:
    command = [sys.executable, ROOT / "deploy" / "requirements.py", ROOT / "pyproject.toml", "cluster"]
    wanted = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    names = {re.split(r"[\[<>=~! ]", line)[0] for line in wanted}
    assert {"torch", "ray", "psycopg2-binary"} <= names
    lines = (ROOT / "deploy" / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0] for line in lines if not line.startswith("#")}
    assert names <= pinned
    assert {"sympy", "protobuf", "starlette"} <= pinned  # what those depend on, too


def test_secrets_are_long_random_and_kept(tmp_path: Path) -> None:
    def make() -> dict[str, str]:
        subprocess.run(
            ["make", "--silent", "--file", ROOT / "Makefile", "secrets", f"PYTHON={sys.executable}"],
            cwd=tmp_path,
            check=True,
        )
        return {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}

    made = make()
    assert set(made) == {"ray_token", "db_password", "study_db_password", "mlflow_db_password"}
    assert all(len(text) == 64 for text in made.values()) and len(set(made.values())) == 4
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert make() == made


@pytest.mark.parametrize(
    ("token", "mode", "word"),
    [
        ("", "token", "make secrets"),
        ("abc", "token", "32"),
        (None, "token", "make secrets"),
        ("x" * 64, None, "RAY_AUTH_MODE"),
    ],
)
def test_a_node_does_not_start_without_a_good_token(
    tmp_path: Path, token: str | None, mode: str | None, word: str
) -> None:
    environment = {"PATH": "/usr/bin:/bin", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    if token is not None:
        (tmp_path / "token").write_text(token)
    if mode is not None:
        environment["RAY_AUTH_MODE"] = mode
    command = ["sh", ROOT / "deploy" / "ray-node.sh", "--head"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and word in done.stderr
    assert len(done.stderr.splitlines()) == 1


KUBERAY = lzma.decompress((Path(__file__).parent / "kuberay-crds.json.xz").read_bytes())
"""The schemas of KubeRay's RayCluster and RayJob, version v1, without their descriptions.

From helm-chart/kuberay-operator/crds of ray-project/kuberay, commit feeaf72 (August 2026), Apache License 2.0.
"""


def _closed(schema: Any) -> Any:
    """A schema that refuses what it does not name: Kubernetes would drop it without a word."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(part) for key, part in schema.items()}
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not open_ended:
        closed["additionalProperties"] = False
    return closed


def _kuberay() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / "deploy" / "kuberay.yaml").read_text()))


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_kuberay_resources_obey_its_schema(kind: str) -> None:
    schema = _closed(json.loads(KUBERAY)[kind])
    schema["properties"]["metadata"] = {"type": "object"}
    [resource] = [resource for resource in _kuberay() if resource["kind"] == kind]
    jsonschema.validate(resource, schema)
    resource["spec"]["replica"] = 3
    with pytest.raises(jsonschema.ValidationError, match="replica"):
        jsonschema.validate(resource, schema)


def test_kuberay_pods_are_as_confined_as_the_containers_and_have_time_to_leave() -> None:
    [cluster] = [resource for resource in _kuberay() if resource["kind"] == "RayCluster"]
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        [container] = pod["containers"]
        assert pod["terminationGracePeriodSeconds"] == 45 and pod["securityContext"]["runAsUser"] == 10001
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {volume["name"] for volume in pod["volumes"]} == {mount["name"] for mount in container["volumeMounts"]}
    assert groups[0]["rayStartParams"]["num-cpus"] == "0"


def test_kuberay_hands_its_options_to_our_script() -> None:
    [cluster] = [resource for resource in _kuberay() if resource["kind"] == "RayCluster"]
    [container] = cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"]
    [line] = container["args"]
    generated = "ray start --head --block --resources='{\"a b\":1}' --num-cpus=0"
    printing = line.replace("exec sh /app/deploy/ray-node.sh", "printf '%s\\n'")
    command = [*container["command"], printing]
    done = subprocess.run(command, env={"KUBERAY_GEN_RAY_START_CMD": generated}, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["--head", "--block", '--resources={"a b":1}', "--num-cpus=0"]
