"""The compose file's services, started in Linux namespaces: faults, security, and what is checked at the start.

The tests share one cluster (PostgreSQL, MLflow, Ray's head, two workers) and run in the order in which they stand here.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from study.disk.files import read_json
from study.results.frame import load_study
from tests.cluster.compose import compose_command, compose_config
from tests.cluster.namespaces import Container, Host, missing_for_namespaces, remove_leftovers

pytestmark = pytest.mark.cluster

PORT = 15000
SETTINGS = {
    "WORKER_CPUS": "1",
    "MLFLOW_WORKERS": "1",
    "MLFLOW_PORT": str(PORT),
    "OBJECT_STORE_BYTES": "150000000",
    "SHM_SIZE": "512m",
}
PATIENCE = 600
"""Seconds; the machine may be busy with other things."""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """The running cluster."""
    if reason := missing_for_namespaces():
        pytest.skip(reason)
    if compose_command() is None:
        pytest.skip("no Docker Compose 2 (.ci/cluster-tools installs it)")
    for module in ("aiohttp_cors", "psycopg2"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"no {module}: pip install '.[cluster]'")
    remove_leftovers()
    base = Path(tempfile.mkdtemp(prefix="study-cluster-", dir="/var/tmp"))
    host = Host(compose_config(settings=SETTINGS), base, {"worker": 2})
    try:
        host.open()
        host.up()
        with _published(host):
            yield host
    finally:
        host.close()
        shutil.rmtree(base, ignore_errors=True)


class _published:
    """Publishes MLflow's port as Docker would: what connects to it on this machine is passed on into the network."""

    def __init__(self, host: Host) -> None:
        [port] = host.config["services"]["mlflow"]["ports"]
        self._target = host.containers["mlflow"].addresses["ui"], port["target"]
        self._server = socket.create_server((port["host_ip"], int(port["published"])))

    def __enter__(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    def __exit__(self, *error: object) -> None:
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target, timeout=10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def wait_for(condition: Callable[[], Any], what: str, driver: subprocess.Popen[str] | None = None) -> Any:
    """Waits until a condition gives something true, and gives it back."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert driver is None or driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < deadline, f"gave up waiting for {what}"
        time.sleep(0.1)
    return found


REQUEST = """
import json, sys, urllib.request, urllib.error
url, headers, data = json.loads(sys.argv[1])
request = urllib.request.Request(url, headers=headers, data=data and data.encode())
try:
    answer = urllib.request.urlopen(request, timeout=20)
except urllib.error.HTTPError as error:
    answer = error
except OSError as error:
    print(json.dumps([0, str(error)]))
    sys.exit()
print(json.dumps([answer.status, answer.read(100_000).decode(errors="replace")]))
"""


def request(
    container: Container, url: str, headers: dict[str, str] | None = None, data: str | None = None
) -> tuple[int, str]:
    """Status and body of what a process in the container is answered; status 0 where nobody answers."""
    status, output = container.execute("python", "-c", REQUEST, json.dumps([url, headers or {}, data]))
    assert status == 0, output
    code, body = json.loads(output.splitlines()[-1])
    return code, body


# --- what a container can reach and do ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["db", "mlflow", "ray-head", "worker-1"])
def test_a_container_runs_as_nobody_much(host: Host, name: str) -> None:
    container = host.containers[name]
    _, text = container.execute("sh", "-c", "cat /proc/self/status; touch /x /usr/x 2>&1 || true")
    fields = dict(line.split(":\t") for line in text.splitlines() if ":\t" in line)
    user = container.service["user"].split(":")[0]
    assert set(fields["Uid"].split()) == {user}
    assert {fields[name].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {""}
    assert fields["NoNewPrivs"].strip() == "1"
    assert text.count("Read-only file system") == 2


def test_a_job_is_taken_from_nobody_without_the_token(host: Host) -> None:
    head = host.containers["ray-head"]
    token = (host.base / "secrets" / "ray_token").read_text()
    job = json.dumps({"entrypoint": "id"})

    def post(headers: dict[str, str]) -> int:
        return request(head, "http://127.0.0.1:8265/api/jobs/", {"Content-Type": "application/json", **headers}, job)[0]

    assert post({}) == 401
    assert post({"Authorization": f"Bearer {'0' * 64}"}) == 403
    listed = request(head, "http://127.0.0.1:8265/api/jobs/", {"Authorization": f"Bearer {token}"})
    assert listed == (200, "[]")


def test_dashboard_is_unreachable_from_a_worker(host: Host) -> None:
    token = (host.base / "secrets" / "ray_token").read_text()
    headers = {"Authorization": f"Bearer {token}"}
    assert request(host.containers["ray-head"], "http://127.0.0.1:8265/api/version", headers)[0] == 200
    assert request(host.containers["worker-1"], "http://ray:8265/api/version", headers)[0] == 0


def test_a_worker_reaches_no_database(host: Host) -> None:
    address = host.containers["db"].addresses["backend"]
    for target in ("db", address):
        code = f"import socket; socket.create_connection(({target!r}, 5432), timeout=3)"
        status, output = host.containers["worker-1"].execute("python", "-c", code)
        assert status == 1 and ("Name or service not known" in output or "OSError" in output), output


def test_the_ledgers_database_is_closed_to_mlflow(host: Host) -> None:
    code = (
        "import psycopg2; psycopg2.connect(host='db', dbname='study', user='mlflow', "
        "password=open('/run/secrets/mlflow_db_password').read())"
    )
    status, output = host.containers["mlflow"].execute("python", "-c", code)
    assert status == 1 and "permission denied for database" in output


def test_a_worker_with_a_wrong_token_is_refused(host: Host) -> None:
    false = host.base / "false"
    shutil.copytree(host.base / "secrets", false)
    (false / "ray_token").chmod(0o644)
    (false / "ray_token").write_text("0" * 64)
    intruder = host.add("worker", "intruder")
    intruder.secrets = false
    host.connect(intruder)
    intruder.start()
    assert intruder.wait(PATIENCE) != 0
    _, listed = host.containers["ray-head"].execute("ray", "list", "nodes", "--format", "json")
    assert host.containers["worker-1"].addresses["cluster"] in listed
    assert intruder.addresses["cluster"] not in listed
    assert "token" in intruder.output()


def test_a_worker_that_has_not_joined_is_not_healthy(host: Host) -> None:
    idle = host.add("worker", "idle")
    host.connect(idle)
    idle.start(["sleep", "infinity"])
    _, *command = idle.service["healthcheck"]["test"]
    assert host.containers["worker-1"].execute(*command)[0] == 0
    assert idle.execute(*command)[0] != 0
    idle.kill()


def test_mlflow_answers_to_its_own_names_alone(host: Host) -> None:
    worker, page = host.containers["worker-1"], "http://mlflow:5000/api/2.0/mlflow/experiments/search?max_results=1"
    assert request(worker, page)[0] == 200
    for name in ("evil", "evil:5000", "mlflow.evil:5000", "db:5000"):
        assert request(worker, page, {"Host": name})[0] == 403


@pytest.fixture(scope="module")
def stored(host: Host) -> dict[str, str]:
    """A run and a model version in MLflow, each with a file; and what their addresses are made of."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"http://127.0.0.1:{PORT}")
    experiment = client.create_experiment("stored")
    run = client.create_run(experiment).info
    client.log_text(run.run_id, "our own", "note.txt")
    client.create_registered_model("stored")
    client.create_model_version("stored", f"{run.artifact_uri}", run.run_id)
    return {"run": run.run_id, "folder": f"{experiment}/{run.run_id}/artifacts"}


ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
FILES = {  # addresses at which MLflow hands out files or lists them, and a path there that it may
    "/get-artifact?run_uuid={run}&path={path}": "note.txt",
    "/model-versions/get-artifact?name=stored&version=1&path={path}": "note.txt",
    f"{ARTIFACTS}/{{path}}": "{folder}/note.txt",
    f"{ARTIFACTS}?path={{path}}": "{folder}",
    "/static-files/{path}": "index.html",
}
TRAVERSALS = [
    "../../../../../../etc/passwd",
    "/etc/passwd",
    "//etc/passwd",
    "%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "%252e%252e%252f%252e%252e%252f%252e%252e%252f%252e%252e%252fetc%252fpasswd",
    "note.txt/../../../../../../etc/passwd",
    "file:///etc/passwd",
]


@pytest.mark.parametrize("address", FILES)
def test_mlflow_hands_out_no_file_but_its_own(host: Host, stored: dict[str, str], address: str) -> None:
    def ask(path: str) -> tuple[int, str]:
        return request(host.containers["worker-1"], "http://mlflow:5000" + address.format(path=path, **stored))

    assert host.containers["mlflow"].execute("grep", "-q", "root:", "/etc/passwd")[0] == 0  # there is something to find
    assert ask(FILES[address].format(**stored))[0] == 200
    lists = address.endswith("?path={path}")
    for path in TRAVERSALS:
        code, body = ask(re.sub("(/|%2f|%252f)passwd$", "", path) if lists else path)
        assert "root:" not in body, path
        assert code >= 400 or (lists and not json.loads(body).get("files")), (path, body)


# --- what is checked before the first trial -----------------------------------------------------------------------


def start_study(host: Host, *options: object, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """`docker compose exec ray-head python -m study.run --space wae_weight OPTIONS`."""
    command = ["python", "-m", "study.run", "--space", "wae_weight", *map(str, options)]
    return host.containers["ray-head"].popen(*command, environment=environment)


BREACHES: dict[str, tuple[list[str], dict[str, str], str]] = {
    "too few cores": (["--cpus-per-trial", "64"], {}, "add a worker"),
    "storage not shared": (["--runs-dir", "/tmp/runs"], {}, "does not share"),
    "a short token": ([], {"RAY_AUTH_TOKEN": "abc"}, "32"),
    "nobody at the address": (["--address", "ray:6380"], {}, "no Ray cluster answers"),
    "a wrong token": ([], {"RAY_AUTH_TOKEN": "0" * 64}, "token"),
    "mlflow by another name": (["--tracking-uri", "http://MLFLOW:5000"], {}, "MLFLOW_SERVER_ALLOWED_HOSTS"),
    "a wrong password": ([], {"STUDY_STORAGE_PASSWORD_FILE": "/run/secrets/ray_token"}, "authentication failed"),
}


@pytest.mark.parametrize(("options", "environment", "word"), BREACHES.values(), ids=list(BREACHES))
def test_a_study_that_cannot_run_says_why_in_one_line(
    host: Host, options: list[str], environment: dict[str, str], word: str
) -> None:
    address = host.containers["mlflow"].addresses["cluster"]
    options = [option.replace("MLFLOW", address) for option in options]
    name = f"breach-{word.split()[0]}-{len(options)}"
    driver = start_study(host, "--name", name, "--num-trials", 1, *options, environment=environment)
    output, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 2, output
    [error] = [line for line in output.splitlines() if line.startswith("error: ")]
    assert word in error
    assert "Traceback" not in output


# --- studies, and what may happen to them ---------------------------------------------------------------------------


def runs(host: Host) -> Path:
    """The volume that holds the studies."""
    return host.base / "volumes" / "runs"


def query(host: Host, database: str, statement: str) -> str:
    """What PostgreSQL answers."""
    status, output = host.containers["db"].execute(
        "psql", "--username", "study", "--dbname", database, "--tuples-only", "--no-align", "--command", statement
    )
    assert status == 0, output
    return output.strip()


def hosts(host: Host, name: str, pattern: str = "attempt-*") -> dict[Path, str]:
    """The container in which each attempt of a study's trials ran."""
    found = {}
    for path in runs(host).glob(f"{name}/trials/*/{pattern}/process.json"):
        if (process := read_json(path)) is not None:
            found[path.parent] = process["host"]
    return found


def check_whole(host: Host, name: str, trials: int, epochs: int) -> None:
    """Asserts that folder, ledger and MLflow tell of the same finished trials, each epoch once."""
    from mlflow.tracking import MlflowClient

    frames = load_study(runs(host), name)
    assert sorted(frames.trials["number"]) == list(range(trials))
    assert set(frames.trials["outcome"]) == {"completed"}
    for _, history in frames.history.groupby("number"):
        assert history["epoch"].tolist() == list(range(1, epochs + 1))
    assert not (runs(host) / name / "optuna.db").exists()
    identity = read_json(runs(host) / name / "study.json")
    assert identity is not None
    ledger = (
        f"select state, count(*) from trials join studies using (study_id) where study_name = '{name}-{identity['id']}'"
    )
    assert query(host, "study", f"{ledger} group by state") == f"COMPLETE|{trials}"
    client = MlflowClient(f"http://127.0.0.1:{PORT}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.`study.id` = '{identity['id']}'")
    children = [run for run in found if "trial.number" in run.data.tags]
    assert len(found) == trials + 1
    assert sorted(int(child.data.tags["trial.number"]) for child in children) == list(range(trials))
    assert {run.info.status for run in found} == {"FINISHED"}
    for child in children:
        steps = [point.step for point in client.get_metric_history(child.info.run_id, "train/loss")]
        assert sorted(steps) == list(range(1, epochs + 1))
        images = [file.path for file in client.list_artifacts(child.info.run_id, "images")]
        assert any(path.startswith("images/samples") for path in images)
    ids = ", ".join(f"'{run.info.run_id}'" for run in found)
    assert query(host, "mlflow", f"select count(*) from runs where run_uuid in ({ids})") == str(trials + 1)


def test_a_study_uses_both_workers_and_is_whole_everywhere(host: Host) -> None:
    driver = start_study(host, "--name", "both", "--num-trials", 4, "--epochs", 8, "--scheduler", "none")
    output, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0, output
    assert set(hosts(host, "both").values()) == {"worker-1", "worker-2"}
    check_whole(host, "both", trials=4, epochs=8)


def test_doctor_finds_the_cluster_sound(host: Host) -> None:
    _, output = host.containers["ray-head"].execute("python", "-m", "study.doctor", "--study", "both")
    lines = {line.split()[0]: line for line in output.splitlines()}
    assert "3 nodes" in lines["Ray"] and "with a token" in lines["Ray"]
    assert "4 complete" in lines["ledger"]
    assert all(lines[subject].endswith("  ok") for subject in ("torch", "MLflow", "Ray", "ledger")), output


def test_a_lost_worker_and_a_restarted_mlflow_cost_no_epoch(host: Host) -> None:
    epochs = 60
    driver = start_study(host, "--name", "lost", "--num-trials", 4, "--epochs", epochs, "--scheduler", "none")
    wait_for(
        lambda: (
            {
                name
                for attempt, name in hosts(host, "lost").items()
                if list(attempt.glob("checkpoint-*")) and not (attempt.parent / "outcome.json").exists()
            }
            == {"worker-1", "worker-2"}
        ),
        "a checkpoint on each worker",
        driver,
    )
    host.containers["worker-2"].kill()
    host.containers["mlflow"].kill()
    time.sleep(3)
    host.containers["mlflow"].start()
    output, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0, output
    host.containers["mlflow"].wait_healthy()
    if "study.sync" in output:  # MLflow was slow to come back, and the study's end waits only a minute for it
        status, said = host.containers["ray-head"].execute("python", "-m", "study.sync", "--study", "lost")
        assert status == 0, said
    host.up("worker-2")
    [(attempt, name)] = hosts(host, "lost", "attempt-2").items()
    assert (name, hosts(host, "lost")[attempt.parent / "attempt-1"]) == ("worker-1", "worker-2")
    first = json.loads((attempt / "metrics.jsonl").read_text().splitlines()[0])
    assert first["epoch"] > 1
    check_whole(host, "lost", trials=4, epochs=epochs)


def test_a_database_that_is_away_for_a_while_is_waited_for(host: Host) -> None:
    epochs = 60
    driver = start_study(host, "--name", "patient", "--num-trials", 4, "--epochs", epochs, "--scheduler", "none")
    folder = runs(host) / "patient" / "trials"
    wait_for(lambda: list(folder.glob("*/outcome.json")), "a trial's end", driver)
    host.containers["db"].kill()

    def trained_and_not_told() -> list[Path]:
        trained = [path for path in folder.glob("*/attempt-1/metrics.jsonl") if path.read_text().count("\n") == epochs]
        return [path for path in trained if not (path.parents[1] / "outcome.json").exists()]

    wait_for(trained_and_not_told, "a trial that ended without a ledger", driver)
    time.sleep(3)
    host.containers["db"].start()
    output, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0, output
    assert "waiting for it" in output
    check_whole(host, "patient", trials=4, epochs=epochs)
    assert len(hosts(host, "patient")) == 4  # no trial was begun twice


def test_a_lost_head_is_made_up_for_by_resume(host: Host) -> None:
    epochs = 60
    options = ["--name", "headless", "--num-trials", 4, "--epochs", epochs, "--scheduler", "none"]
    driver = start_study(host, *options)
    folder = runs(host) / "headless" / "trials"
    wait_for(lambda: list(folder.glob("*/outcome.json")), "a trial's end", driver)
    host.containers["ray-head"].kill()
    driver.wait(30)
    for name in ("worker-1", "worker-2"):  # each gives up by itself, and Docker would start it again
        host.containers[name].wait(PATIENCE)
    host.up("ray-head", "worker-1", "worker-2")
    resumed = start_study(host, "--name", "headless", "--resume")
    output, _ = resumed.communicate(timeout=PATIENCE)
    assert resumed.returncode == 0, output
    check_whole(host, "headless", trials=4, epochs=epochs)
    later = [attempt for attempt in hosts(host, "headless") if attempt.name != "attempt-1"]
    firsts = [json.loads((attempt / "metrics.jsonl").read_text().splitlines()[0])["epoch"] for attempt in later]
    assert firsts and max(firsts) > 1


def written(host: Host) -> Iterator[tuple[str, bytes]]:
    """All that the services have put down so far: where, and what."""
    for path in (*(host.base / "logs").iterdir(), *(host.base / "volumes").rglob("*")):
        if path.is_file():
            yield str(path.relative_to(host.base)), path.read_bytes()
    status, dump = host.containers["db"].execute("pg_dumpall", "--username", "study")  # what its own files hold packed
    assert status == 0, dump[-500:]
    yield "dump", dump.encode()
    for name, container in host.containers.items():
        if container.running:
            for path in Path(f"/proc/{container.pid}/root/tmp").rglob("*"):
                with contextlib.suppress(FileNotFoundError):  # it was there a moment ago
                    if path.is_file():
                        yield f"{name}:/tmp/{path.name}", path.read_bytes()
            _, commands = container.execute("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
            yield f"{name}: command lines", commands.encode()


def test_no_secret_was_written_anywhere(host: Host) -> None:
    secrets = [path.read_bytes() for path in (host.base / "secrets").iterdir()]
    assert len(secrets) == 3
    places = []
    for place, content in written(host):
        places.append(place)
        assert not any(secret in content for secret in secrets), place
        if place == "dump":
            assert b"headless" in content and b"mlflow.runName" in content  # both databases
    for part in (
        "logs/mlflow",
        "volumes/runs/headless",
        "volumes/mlartifacts",
        "volumes/db",
        "ray-head:/tmp/gcs_server",
    ):
        assert any(place.startswith(part) for place in places), part
    assert any(place.startswith("worker-1:/tmp/raylet") for place in places)
