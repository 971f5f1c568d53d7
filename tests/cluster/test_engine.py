"""The compose files on a real Docker Engine: what its commands do, faults, security, and what is checked at the start.

The tests share one cluster (PostgreSQL, MLflow, Ray's head, two workers) and run in the order in which they stand here.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from study.disk.files import read_json
from study.results.frame import load_study
from tests.cluster.compose import ROOT
from tests.cluster.engine import Engine, missing_for_engine
from tests.cluster.project import BUILD, Project

pytestmark = pytest.mark.cluster

PORT = 15000
SETTINGS = {
    **BUILD,
    "WORKER_CPUS": "1",
    "WORKER_MEMORY": "3g",
    "MLFLOW_WORKERS": "1",
    "MLFLOW_PORT": str(PORT),
    "OBJECT_STORE_BYTES": "150000000",
    "SHM_SIZE": "512m",
}
SERVICES = ("db", "mlflow", "ray-head", "worker-1")
PATIENCE = 600
"""Seconds; the machine may be busy with other things."""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """A running Engine with the images that the compose files pull."""
    if reason := missing_for_engine():
        pytest.skip(reason)
    engine = Engine()
    try:
        engine.start()
    except RuntimeError as error:
        pytest.skip(str(error))
    try:
        engine.make_stand_ins()
        yield engine
    finally:
        engine.stop()


@pytest.fixture(scope="module")
def project(engine: Engine) -> Iterator[Project]:
    """A checkout; its first test starts its containers."""
    for module in ("aiohttp_cors", "psycopg2"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"no {module}: pip install '.[cluster]'")
    project = Project.temporary(engine, SETTINGS, runs_size="1500m")
    try:
        yield project
    finally:
        project.remove()


def wait_for(condition: Callable[[], Any], what: str, driver: subprocess.Popen[str] | None = None) -> Any:
    """Waits until a condition gives something true, and gives it back."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert driver is None or driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < deadline, f"gave up waiting for {what}"
        time.sleep(0.2)
    return found


# --- the commands that the documents give ---------------------------------------------------------------------------


def test_the_documented_commands_do_what_they_say(project: Project) -> None:
    text = (ROOT / "docs" / "cluster.md").read_text().partition("## One host")[2]
    block = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
    assert block is not None
    lines = [line.partition("#")[0].strip() for line in block[1].splitlines()]
    assert lines[0].startswith("make up") and lines[-1] == "make down"
    (project.folder / "data").mkdir()
    shutil.copy(ROOT / "search_spaces" / "method.py", project.folder / "data" / "my_question.py")
    said = {line: project.run("bash", "-c", line) for line in lines}
    studies = [output for line, output in said.items() if "cluster-study" in line]
    assert len(studies) == 3
    for output in studies:
        assert f"MLflow   http://127.0.0.1:{PORT}/#/experiments/" in output
        assert "not complete" not in output
    assert (project.folder / "tradeoff.png").read_bytes().startswith(b"\x89PNG")
    assert not project.hosts()


def test_the_studies_are_there_again(project: Project) -> None:
    project.run("make", "up", "WORKERS=2")
    status, output = project.execute("ray-head", "python", "-m", "study.status", "--study", "wae_weight")
    assert status == 0 and "30 of 30" in output.replace("/", " of "), output
    assert sorted(project.hosts().values()) == ["db-1", "mlflow-1", "ray-head-1", "worker-1", "worker-2"]


def test_image_holds_the_versions_that_are_pinned(project: Project) -> None:
    def versions(text: str) -> dict[str, str]:
        pairs = (line.split("==") for line in text.lower().replace("_", "-").splitlines() if "==" in line)
        return {name: version.partition("+")[0] for name, version in pairs}

    installed = versions(project.execute("ray-head", "python", "-m", "pip", "list", "--format", "freeze")[1])
    pinned = versions((ROOT / "deploy" / "constraints.txt").read_text())
    assert len(installed) > 100
    assert {name: installed[name] for name in installed if name in pinned} == {
        name: pinned[name] for name in installed if name in pinned
    }
    assert set(installed) - set(pinned) <= {"pip", "setuptools", "wheel"}  # the base image's own


def test_another_checkout_is_told_of_this_one(project: Project, tmp_path: Path) -> None:
    other = tmp_path / project.name
    shutil.copytree(project.folder, other, ignore=shutil.ignore_patterns("secrets"))
    done = subprocess.run(
        ["make", "up"], cwd=other, env=project.engine.environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert f"the checkout in {project.folder} runs under this project's name" in done.stderr


def test_doctor_finds_the_cluster_sound(project: Project) -> None:
    status, output = project.execute("ray-head", "python", "-m", "study.doctor", "--study", "wae_weight")
    lines = {line.split()[0]: line for line in output.splitlines()}
    assert status == 0, output
    assert "3 nodes" in lines["Ray"] and "with a token" in lines["Ray"]


def test_a_node_with_too_little_memory_says_so(project: Project) -> None:
    token = ["--volume", f"{project.folder}/secrets/ray_token:/token:ro", "--env", "RAY_AUTH_TOKEN_PATH=/token"]
    command = ["run", "--rm", "--memory", "900m", "--env", "RAY_AUTH_MODE=token", *token]
    image = project.inspect("worker-1")["Config"]["Image"]
    done = project.engine.docker(*command, image, "sh", "/app/deploy/ray-node.sh", "--head", check=False)
    assert done.returncode == 2 and "943 MB" in done.stderr and "WORKER_MEMORY" in done.stderr


# --- what a container can reach and do ------------------------------------------------------------------------------

REQUEST = """
import json, sys, urllib.request, urllib.error
url, headers, data = json.loads(sys.argv[1])
request = urllib.request.Request(url, headers=headers, data=data and data.encode())
try:
    answer = urllib.request.urlopen(request, timeout=10)
except urllib.error.HTTPError as error:
    answer = error
except OSError as error:
    print(json.dumps([0, str(error)]))
    sys.exit()
print(json.dumps([answer.status, answer.read(100_000).decode(errors="replace")]))
"""


def request(
    project: Project, service: str, url: str, headers: dict[str, str] | None = None, data: str | None = None
) -> tuple[int, str]:
    """Status and body of what a process in a container is answered; status 0 where nobody answers."""
    status, output = project.execute(service, "python", "-c", REQUEST, json.dumps([url, headers or {}, data]))
    assert status == 0, output
    code, body = json.loads(output.splitlines()[-1])
    return code, body


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_runs_as_nobody_much(project: Project, name: str) -> None:
    seen = project.inspect(name)
    user = seen["Config"]["User"]
    assert user == ("999:999" if name == "db" else "10001:10001")
    host = seen["HostConfig"]
    assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["CapAdd"] and not host["Privileged"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["Memory"] and host["PidsLimit"] and host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["LogConfig"]["Config"] == {"max-file": "3", "max-size": "10m"}
    _, text = project.execute(name, "sh", "-c", "cat /proc/self/status; touch /x /usr/x 2>&1 || true")
    fields = dict(line.split(":\t") for line in text.splitlines() if ":\t" in line)
    assert set(fields["Uid"].split()) == {user.split(":")[0]}
    assert {fields[name].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {""}
    assert fields["NoNewPrivs"].strip() == "1"
    assert text.count("Read-only file system") == 2


def test_a_job_is_taken_from_nobody_without_the_token(project: Project) -> None:
    token = (project.folder / "secrets" / "ray_token").read_text()
    jobs, kind, job = "http://127.0.0.1:8265/api/jobs/", {"Content-Type": "application/json"}, '{"entrypoint": "id"}'
    assert request(project, "ray-head", jobs, kind, job)[0] == 401
    assert request(project, "ray-head", jobs, {**kind, "Authorization": f"Bearer {'0' * 64}"}, job)[0] == 403
    authorised = {"Authorization": f"Bearer {token}"}
    status, listed = request(project, "ray-head", jobs, authorised)
    assert status == 200 and {job["type"] for job in json.loads(listed)} <= {"DRIVER"}  # our own commands
    assert request(project, "worker-1", "http://ray:8265/api/version", authorised)[0] == 0


def test_a_worker_with_a_wrong_token_is_refused(project: Project, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0" * 64)
    options = ["--rm", "--no-deps", "--volume", f"{tmp_path}/token:/run/secrets/false:ro"]
    options += ["--env", "RAY_AUTH_TOKEN_PATH=/run/secrets/false"]
    intruder = project.popen("docker", "compose", "run", *options, "worker")
    output, _ = intruder.communicate(timeout=PATIENCE)
    assert intruder.returncode != 0 and "token" in output
    _, listed = project.execute("ray-head", "ray", "list", "nodes", "--format", "json")
    assert listed.count('"ALIVE"') == 3


def _addresses(project: Project, name: str) -> list[str]:
    return [network["IPAddress"] for network in project.inspect(name)["NetworkSettings"]["Networks"].values()]


CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3)"


def test_a_worker_reaches_no_database_and_a_stranger_nothing(project: Project) -> None:
    for name, port in (("mlflow", "5000"), ("ray", "6379")):
        assert project.execute("worker-1", "python", "-c", CONNECT, name, port)[0] == 0
    assert project.execute("ray-head", "python", "-c", CONNECT, "db", "5432")[0] == 0
    for target in ("db", *_addresses(project, "db")):
        status, output = project.execute("worker-1", "python", "-c", CONNECT, target, "5432")
        assert status == 1 and re.search("name resolution|not known|unreachable|timed out", output), output
    image = project.inspect("worker-1")["Config"]["Image"]
    stranger = functools.partial(project.engine.docker, "run", "--rm", image, "python", "-c", CONNECT, check=False)
    for name, port in (("db", "5432"), ("mlflow", "5000"), ("ray-head", "6379")):
        for address in _addresses(project, name):
            assert stranger(address, port).returncode == 1, name
    # Nor is the UI published on another of this machine's addresses.
    socket.create_connection(("127.0.0.1", PORT), timeout=3).close()
    bridge = project.engine.docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")
    with pytest.raises(OSError):
        socket.create_connection((bridge.stdout.strip(), PORT), timeout=3)


@pytest.fixture
def outside() -> Iterator[str]:
    """The address of a machine that is no part of Docker's networks, and knows the way to this one alone."""
    space, address = "study-outside", "198.51.100.2"
    commands = (
        f"ip netns add {space}",
        "ip link add study-out type veth peer name eth0 netns study-outside",
        "ip address add 198.51.100.1/30 dev study-out",
        "ip link set study-out up",
        f"ip -netns {space} address add {address}/30 dev eth0",
        f"ip -netns {space} link set eth0 up",
    )
    try:
        for command in commands:
            subprocess.run(command.split(), check=True)
        server = subprocess.Popen(
            ["ip", "netns", "exec", space, "python3", "-m", "http.server", "--bind", address, "8080"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield address
        finally:
            server.kill()
            server.wait()
    finally:
        subprocess.run(["ip", "netns", "delete", space], check=False)
        subprocess.run(["ip", "link", "delete", "study-out"], check=False, capture_output=True)


def test_no_container_reaches_the_internet(project: Project, outside: str) -> None:
    image = project.inspect("worker-1")["Config"]["Image"]
    other = ["run", "--rm", image, "python", "-c", CONNECT, outside, "8080"]
    wait_for(lambda: project.engine.docker(*other, check=False).returncode == 0, "an ordinary container to get out")
    for name in ("mlflow", "ray-head", "worker-1"):
        status, output = project.execute(name, "python", "-c", CONNECT, outside, "8080")
        assert status == 1 and ("unreachable" in output or "timed out" in output), (name, output)
    status, output = project.execute("db", "bash", "-c", f"timeout 3 bash -c '</dev/tcp/{outside}/8080'")
    assert status != 0, output


SQL = """
import sys, psycopg2
database, statement = sys.argv[1:]
password = open("/run/secrets/{role}_db_password").read()
connection = psycopg2.connect(host="db", dbname=database, user="{role}", password=password)
connection.cursor().execute(statement)
"""


@pytest.mark.parametrize(
    ("service", "role", "database", "statement", "word"),
    [
        ("ray-head", "study", "study", "COPY (SELECT 1) TO PROGRAM 'id'", "InsufficientPrivilege"),
        ("ray-head", "study", "study", "SELECT pg_read_file('/run/secrets/mlflow_db_password')", "permission denied"),
        ("ray-head", "study", "study", "CREATE ROLE another SUPERUSER", "InsufficientPrivilege"),
        ("ray-head", "study", "mlflow", "SELECT 1", "permission denied for database"),
        ("mlflow", "mlflow", "study", "SELECT 1", "permission denied for database"),
    ],
)
def test_a_role_has_its_own_database_and_no_more(
    project: Project, service: str, role: str, database: str, statement: str, word: str
) -> None:
    status, output = project.execute(service, "python", "-c", SQL.format(role=role), database, statement)
    assert status == 1 and word in output


def test_mlflow_answers_to_its_own_names_alone(project: Project) -> None:
    page = "http://mlflow:5000/api/2.0/mlflow/experiments/search?max_results=1"
    assert request(project, "worker-1", page)[0] == 200
    for name in ("evil", "mlflow.evil:5000", "db:5000"):
        assert request(project, "worker-1", page, {"Host": name})[0] == 403


@pytest.fixture(scope="module")
def stored(project: Project) -> dict[str, str]:
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
    "//etc/passwd",
    "%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "%252e%252e%252f%252e%252e%252f%252e%252e%252f%252e%252e%252fetc%252fpasswd",
    "note.txt/../../../../../../etc/passwd",
    "file:///etc/passwd",
]


@pytest.mark.parametrize("address", FILES)
def test_mlflow_hands_out_no_file_but_its_own(project: Project, stored: dict[str, str], address: str) -> None:
    def ask(path: str) -> tuple[int, str]:
        return request(project, "worker-1", "http://mlflow:5000" + address.format(path=path, **stored))

    assert project.execute("mlflow", "grep", "-q", "root:", "/etc/passwd")[0] == 0  # there is something to find
    assert ask(FILES[address].format(**stored))[0] == 200
    lists = address.endswith("?path={path}")
    for path in TRAVERSALS:
        code, body = ask(re.sub("(/|%2f|%252f)passwd$", "", path) if lists else path)
        assert "root:" not in body, path
        assert code >= 400 or (lists and not json.loads(body).get("files")), (path, body)


# --- what is checked before the first trial -------------------------------------------------------------------------


def start_study(project: Project, *options: object, environment: dict[str, str] | None = None) -> Any:
    """`docker compose exec ray-head python -m study.run --space wae_weight OPTIONS`."""
    command = ["python", "-m", "study.run", "--space", "wae_weight", *map(str, options)]
    return project.start("ray-head", *command, environment=environment)


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
    project: Project, options: list[str], environment: dict[str, str], word: str
) -> None:
    address = project.inspect("mlflow")["NetworkSettings"]["Networks"][f"{project.name}_cluster"]["IPAddress"]
    options = [option.replace("MLFLOW", address) for option in options]
    name = f"breach-{word.split()[0]}-{len(options)}"
    driver = start_study(project, "--name", name, "--num-trials", 1, *options, environment=environment)
    output, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 2, output
    [error] = [line for line in output.splitlines() if line.startswith("error: ")]
    assert word in error
    assert "Traceback" not in output


# --- studies, and what may happen to them ---------------------------------------------------------------------------

TRIALS, EPOCHS = 4, 120


def begin(project: Project, name: str, epochs: int = EPOCHS, *options: object) -> Any:
    """Starts a study of four trials that are all trained to the end."""
    options = ("--num-trials", TRIALS, "--epochs", epochs, "--scheduler", "none", *options)
    return start_study(project, "--name", name, *options)


def end(driver: Any) -> str:
    """Waits for a driver that ends well; gives what it said."""
    output, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0, output
    return output


def query(project: Project, database: str, statement: str) -> str:
    """What PostgreSQL answers."""
    command = ["psql", "--username", "postgres", "--dbname", database, "--tuples-only", "--no-align", "--command"]
    status, output = project.execute("db", *command, statement)
    assert status == 0, output
    return output.strip()


def attempts(project: Project, name: str) -> dict[Path, str]:
    """The container in which each attempt of a study's trials ran, by its own name."""
    found = {}
    for path in sorted(project.runs.glob(f"{name}/trials/*/attempt-*/process.json")):
        if (process := read_json(path)) is not None:
            found[path.parent] = process["host"]
    return found


def first_epoch(attempt: Path) -> int:
    """The first epoch that an attempt trained."""
    return json.loads((attempt / "metrics.jsonl").read_text().splitlines()[0])["epoch"]


def audit(project: Project, name: str, epochs: int = EPOCHS) -> None:
    """Asserts that folder, ledger and MLflow tell of the same finished trials, each epoch once."""
    from mlflow.tracking import MlflowClient

    frames = load_study(project.runs, name)
    assert sorted(frames.trials["number"]) == list(range(TRIALS))
    assert set(frames.trials["outcome"]) == {"completed"}, frames.trials[["number", "outcome", "reason"]].to_string()
    for _, history in frames.history.groupby("number"):
        assert history["epoch"].tolist() == list(range(1, epochs + 1))
    assert not (project.runs / name / "optuna.db").exists()
    identity = read_json(project.runs / name / "study.json")
    assert identity is not None
    ledger = (
        f"select state, count(*) from trials join studies using (study_id) where study_name = '{name}-{identity['id']}'"
    )
    assert query(project, "study", f"{ledger} group by state") == f"COMPLETE|{TRIALS}"
    client = MlflowClient(f"http://127.0.0.1:{PORT}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.`study.id` = '{identity['id']}'")
    children = [run for run in found if "trial.number" in run.data.tags]
    assert len(found) == TRIALS + 1
    assert sorted(int(child.data.tags["trial.number"]) for child in children) == list(range(TRIALS))
    assert {run.info.status for run in found} == {"FINISHED"}
    for child in children:
        steps = [point.step for point in client.get_metric_history(child.info.run_id, "train/loss")]
        assert sorted(steps) == list(range(1, epochs + 1))
        images = [file.path for file in client.list_artifacts(child.info.run_id, "images")]
        assert any(path.startswith("images/samples") for path in images)


def training(project: Project, name: str, least: int) -> Callable[[], bool]:
    """Whether two trials of a study are being trained, on both workers, and have reached some epoch."""

    def look() -> bool:
        unfinished = {
            host
            for attempt, host in attempts(project, name).items()
            if not (attempt.parent / "outcome.json").exists()
            and (attempt / "metrics.jsonl").exists()
            and (attempt / "metrics.jsonl").read_text().count("\n") >= least
        }
        return len(unfinished) == 2

    return look


def healthy(project: Project) -> Callable[[], bool]:
    """Whether every container is, as `docker compose ps` sees it."""

    def look() -> bool:
        states = project.compose("ps", "--all", "--format", "{{.Status}}").splitlines()
        states = [line for line in states if not line.startswith("time=")]
        return len(states) == 5 and all("(healthy)" in line for line in states)

    return look


def test_a_lost_worker_and_a_crashed_mlflow_cost_no_epoch(project: Project) -> None:
    lost = project.inspect("worker-2")["Config"]["Hostname"]
    driver = begin(project, "lost")
    wait_for(training(project, "lost", 20), "trials on both workers", driver)
    project.engine.docker("kill", project.container("worker-2"))
    project.crash("mlflow")
    output = end(driver)
    wait_for(lambda: project.inspect("mlflow")["State"]["Health"]["Status"] == "healthy", "MLflow")
    if "study.sync" in output:  # MLflow was slow to come back, and the study's end waits only a minute for it
        status, said = project.execute("ray-head", "python", "-m", "study.sync", "--study", "lost")
        assert status == 0, said
    audit(project, "lost")
    again = [attempt for attempt in attempts(project, "lost") if attempt.name != "attempt-1"]
    assert {attempts(project, "lost")[attempt.parent / "attempt-1"] for attempt in again} == {lost}
    assert all(first_epoch(attempt) > 1 for attempt in again)
    assert project.inspect("worker-2")["State"]["Status"] == "exited"  # the Engine does not restart what was killed
    project.run("make", "up", "WORKERS=2")
    assert healthy(project)()


def test_a_crashed_worker_is_restarted(project: Project) -> None:
    driver = begin(project, "crashed")
    wait_for(training(project, "crashed", 10), "trials on both workers", driver)
    project.crash("worker-2")
    end(driver)
    audit(project, "crashed")
    wait_for(healthy(project), "the worker")


def test_a_stopped_worker_saves_what_it_has_trained(project: Project) -> None:
    epochs = 200
    leaving = project.inspect("worker-2")["Config"]["Hostname"]
    driver = begin(project, "drained", epochs, "--max-failures", 0)  # to be moved is no failure
    wait_for(training(project, "drained", 30), "trials on both workers", driver)
    project.compose("up", "--detach", "--no-recreate", "--scale", "worker=1")
    project.compose("up", "--detach", "--no-recreate", "--scale", "worker=3")
    end(driver)
    audit(project, "drained", epochs)
    [cut] = [attempt for attempt, host in attempts(project, "drained").items() if host == leaving and _was_cut(attempt)]
    trained = (cut / "metrics.jsonl").read_text().count("\n")
    assert first_epoch(cut.with_name("attempt-2")) == trained + 1
    project.compose("up", "--detach", "--no-recreate", "--wait", "--scale", "worker=2")


def _was_cut(attempt: Path) -> bool:
    return attempt.with_name("attempt-2").exists()


def test_a_worker_out_of_memory_costs_no_trial(project: Project) -> None:
    driver = begin(project, "memory")
    wait_for(training(project, "memory", 5), "trials on both workers", driver)
    # The kernel ends a trial first, as Ray has asked it to.
    status, output = project.execute("worker-1", "python", "-c", EATER)
    end(driver)
    audit(project, "memory")
    assert len(attempts(project, "memory")) > TRIALS, (status, output)
    wait_for(healthy(project), "the worker")


EATER = """
import pathlib, time
files = "memory.current memory.max", "memory/memory.usage_in_bytes memory/memory.limit_in_bytes"
for names in files:
    paths = [pathlib.Path("/sys/fs/cgroup", name) for name in names.split()]
    if paths[0].exists():
        used, limit = (int(path.read_text()) for path in paths)
eaten = b"x" * (limit - used + 2**27)
time.sleep(5)
"""


def test_a_database_that_is_away_for_a_while_is_waited_for(project: Project) -> None:
    driver = begin(project, "patient")
    folder = project.runs / "patient" / "trials"
    wait_for(lambda: list(folder.glob("*/outcome.json")), "a trial's end", driver)
    project.engine.docker("kill", project.container("db"))

    def trained_and_not_told() -> list[Path]:
        trained = [path for path in folder.glob("*/attempt-1/metrics.jsonl") if path.read_text().count("\n") == EPOCHS]
        return [path for path in trained if not (path.parents[1] / "outcome.json").exists()]

    wait_for(trained_and_not_told, "a trial that ended without a ledger", driver)
    time.sleep(15)  # longer than the driver waits for the receipt of what it sends
    project.engine.docker("start", project.container("db"))
    output, _ = driver.communicate(timeout=PATIENCE)
    if driver.returncode == 0:
        assert "waiting for it" in output
        assert len(attempts(project, "patient")) == TRIALS  # no trial was begun twice
    else:  # it was lost in the middle of a statement, which nobody knows whether to repeat
        assert "the ledger's database: " in output and "--resume" in output and "Traceback" not in output, output
        end(start_study(project, "--name", "patient", "--resume"))
    audit(project, "patient")


def test_a_database_that_stays_away_ends_the_session_and_resume_continues(project: Project) -> None:
    impatient = (
        "import runpy; import study.search.storage as s; s.PATIENCE_SECONDS = 10.0; "
        "runpy.run_module('study.run', run_name='__main__')"
    )
    options = ["--space", "wae_weight", "--name", "away", "--num-trials", str(TRIALS), "--epochs", str(EPOCHS)]
    driver = project.start("ray-head", "python", "-c", impatient, *options, "--scheduler", "none")
    wait_for(training(project, "away", 5), "trials on both workers", driver)
    project.engine.docker("kill", project.container("db"))
    output, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode not in (0, None) and "--resume" in output and "Traceback" not in output, output
    project.run("make", "up", "WORKERS=2")
    end(start_study(project, "--name", "away", "--resume"))
    audit(project, "away")


def test_a_full_disk_loses_nothing(project: Project) -> None:
    driver = begin(project, "full")
    wait_for(training(project, "full", 5), "trials on both workers", driver)
    filler = project.runs / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(bytes(2**20))
    time.sleep(10)
    filler.unlink()
    output, _ = driver.communicate(timeout=PATIENCE)
    assert "Traceback" not in output, output
    if driver.returncode != 0:
        end(start_study(project, "--name", "full", "--resume"))
    audit(project, "full")


def test_a_crashed_head_is_made_up_for_by_resume(project: Project) -> None:
    before = {name: project.inspect(name)["State"]["StartedAt"] for name in ("ray-head", "worker-1", "worker-2")}
    driver = begin(project, "headless")
    folder = project.runs / "headless" / "trials"
    wait_for(lambda: list(folder.glob("*/outcome.json")), "a trial's end", driver)
    wait_for(training(project, "headless", 20), "the next trials on both workers", driver)
    project.crash("ray-head")
    driver.communicate(timeout=PATIENCE)

    def restarted() -> bool:  # each worker gives up by itself after a minute, and the Engine starts it again
        return all(project.inspect(name)["State"]["StartedAt"] != started for name, started in before.items())

    wait_for(lambda: restarted() and healthy(project)(), "head and workers to be back")
    end(start_study(project, "--name", "headless", "--resume"))
    audit(project, "headless")
    later = [attempt for attempt in attempts(project, "headless") if attempt.name != "attempt-1"]
    assert later and max(map(first_epoch, later)) > 1


def test_stop_and_up_again_lose_no_epoch(project: Project) -> None:
    epochs = 200
    driver = begin(project, "stopped", epochs)
    wait_for(training(project, "stopped", 30), "trials on both workers", driver)
    project.compose("stop")
    output, _ = driver.communicate(timeout=PATIENCE)
    assert "Traceback" not in output, output
    trained = {
        attempt: (attempt / "metrics.jsonl").read_text().count("\n")
        for attempt in attempts(project, "stopped")
        if not (attempt.parent / "outcome.json").exists()
    }
    assert len(trained) == 2
    project.run("make", "up", "WORKERS=2")
    end(start_study(project, "--name", "stopped", "--resume"))
    audit(project, "stopped", epochs)
    for attempt, count in trained.items():
        assert first_epoch(attempt.with_name("attempt-2")) == count + 1, output


def test_an_engine_that_restarts_brings_everything_back(project: Project) -> None:
    driver = begin(project, "engine")
    wait_for(training(project, "engine", 5), "trials on both workers", driver)
    project.engine.restart()
    driver.communicate(timeout=PATIENCE)
    wait_for(healthy(project), "the containers to be back")
    end(start_study(project, "--name", "engine", "--resume"))
    audit(project, "engine")


def test_no_secret_was_written_anywhere(project: Project) -> None:
    secrets = {path.name: path.read_bytes() for path in (project.folder / "secrets").iterdir()}
    assert len(secrets) == 4
    places = []
    for place, content in written(project):
        places.append(place)
        found = [name for name, secret in secrets.items() if secret in content]
        assert not found or (found, place) == (["mlflow_db_password"], "mlflow: tmp/pgpass"), place
        if place == "dump":
            assert b"headless" in content and b"mlflow.runName" in content  # both databases
    for part in ("logs", "image", "runs/headless", "volumes/mlartifacts", "volumes/db", "ray-head: tmp/.*gcs_server"):
        assert any(re.match(part, place) for place in places), part


def written(project: Project) -> Iterator[tuple[str, bytes]]:
    """All that the services have put down so far: where, and what."""
    yield "logs", project.compose("logs", "--no-color").encode()
    image = project.inspect("worker-1")["Config"]["Image"]
    yield "image", project.engine.docker("history", "--no-trunc", image).stdout.encode()
    status, dump = project.execute("db", "pg_dumpall", "--username", "postgres")  # what its own files hold packed
    assert status == 0, dump[-500:]
    yield "dump", dump.encode()
    folders = {"runs": project.runs}
    for name in ("db", "mlartifacts"):
        volume = project.engine.docker("volume", "inspect", f"{project.name}_{name}", "--format", "{{.Mountpoint}}")
        folders[f"volumes/{name}"] = Path(volume.stdout.strip())
    for name in (*SERVICES, "worker-2"):
        seen = project.inspect(name)
        yield f"{name}: inspect", json.dumps(seen).encode()
        folders[f"{name}: tmp"] = Path(f"/proc/{seen['State']['Pid']}/root/tmp")
        for process in project.engine.docker("top", project.container(name), "-eo", "pid").stdout.split()[1:]:
            for what in ("environ", "cmdline"):
                with contextlib.suppress(OSError):  # it was there a moment ago
                    yield f"{name}: {what}", Path(f"/proc/{process}/{what}").read_bytes()
    for place, folder in folders.items():
        for path in folder.rglob("*"):
            with contextlib.suppress(OSError):
                if path.is_file():
                    yield f"{place}/{path.relative_to(folder)}", path.read_bytes()
