"""PostgreSQL, S3 and MLflow as infra/compose.yaml starts them, but as processes of this machine.

Commands and environments are taken from the compose file, as Docker Compose itself reads it; only
addresses and directories are replaced.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg2

from tests.conftest import missing_service
from tests.mlflow_helpers import wait_for

ROOT = Path(__file__).parents[2]
COMPOSE_FILE = ROOT / "infra" / "compose.yaml"
CREDENTIALS = ROOT / "infra" / "compose" / "credentials.sh"
BIN = Path(sys.executable).parent
ORIGIN = "https://mlflow.example.org"
"""Where a browser shows the server, besides localhost."""
WEED = ["master", "volume", "filer", "s3"]


def resolved(env_file: Path) -> dict:
    """The compose file as Docker Compose understands it with these credentials."""
    command = [str(BIN / "docker-compose"), "-f", str(COMPOSE_FILE), "--env-file", str(env_file)]
    done = subprocess.run([*command, "config", "--format", "json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["services"]


def credentials(env_file: Path) -> dict[str, str]:
    subprocess.run([str(CREDENTIALS), str(env_file)], check=True, capture_output=True)
    return dict(line.split("=", 1) for line in env_file.read_text().splitlines())


def free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def postgres_bin() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    on_path = shutil.which("initdb")
    if on_path is None and not found:
        missing_service("no PostgreSQL: apt-get install postgresql (see .ci/system.sh)")
    return found[-1] if found else Path(on_path).parent


class Stack:
    """The services of one directory, on ports of their own for their whole life.

    Attributes:
        secrets: what credentials.sh made, by name.
        uri: of the MLflow server.
        logs: directory with a log for each service.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.logs = root, root / "logs"
        self.logs.mkdir(parents=True)
        self.secrets = credentials(root / ".env")
        with (root / ".env").open("a") as settings:
            settings.write(f"LLMCLF_MLFLOW_ORIGINS={ORIGIN}\n")
        self.compose = resolved(root / ".env")
        self.postgres_bin = postgres_bin()
        self.database = Path(tempfile.mkdtemp(prefix="llmclf-postgres-"))
        self.objects = root / "objects"
        ports = free_ports(2 + 2 * len(WEED))
        self.mlflow_port, self.postgres_port = ports[:2]
        names = [w + g for w in WEED for g in ("", ".grpc")]
        self.weed_ports = dict(zip(names, ports[2:], strict=True))
        self.uri = f"http://127.0.0.1:{self.mlflow_port}"
        self.s3_url = f"http://127.0.0.1:{self.weed_ports['s3']}"
        self.running: dict[str, subprocess.Popen] = {}

    def start(self) -> Stack:
        self.start_postgres()
        self.start_s3()
        self.start_mlflow()
        return self

    def environment(self, service: str) -> dict[str, str]:
        """A service's environment with this machine's addresses; nothing else is inherited."""
        values = dict(self.compose[service].get("environment") or {})
        mounts = {v["target"]: v["source"] for v in self.compose[service].get("volumes", [])}
        here = {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.postgres_port),
            "MLFLOW_S3_ENDPOINT_URL": self.s3_url,
            "HOME": str(self.root),
        }
        values = {k: mounts.get(v, v) for k, v in values.items()}
        values |= {k: v for k, v in here.items() if k in values}
        return values | {"PATH": f"{BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}

    def command(self, service: str, *arguments: str) -> list[str]:
        """The entrypoint with a command, the compose file's own if none is given."""
        mounts = {v["target"]: v["source"] for v in self.compose[service].get("volumes", [])}
        entry = self.compose[service].get("entrypoint") or []
        given = list(arguments) or self.compose[service]["command"]
        return [mounts.get(part, part) for part in [*entry, *given]]

    def start_postgres(self) -> None:
        """As the image's entrypoint does: a cluster on first start, and the user's own database."""
        values = self.environment("postgres")
        fresh = not any(self.database.iterdir())
        data, user = str(self.database / "data"), self._database_user()
        if fresh:
            passwords = self.database / "password"
            passwords.write_text(values["POSTGRES_PASSWORD"])
            shutil.chown(passwords, user)
            shutil.chown(self.database, user)
            command = ["initdb", "-D", data, f"--username={values['POSTGRES_USER']}"]
            command += [f"--pwfile={passwords}", *values["POSTGRES_INITDB_ARGS"].split()]
            self._as(user, command)
            passwords.unlink()
        server, *own = self.command("postgres")
        place = ["-D", data, "-k", str(self.database), "-p", str(self.postgres_port)]
        place += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        self._spawn("postgres", [str(self.postgres_bin / server), *own, *place], user=user)
        self._wait_for_postgres()
        if fresh:
            self.local("createdb", "-U", values["POSTGRES_USER"], values["POSTGRES_DB"])

    def start_s3(self) -> None:
        """The S3 server, and the bucket that the one-shot service makes."""
        self.objects.mkdir(exist_ok=True)
        ports = [
            f"-{name.replace('.grpc', '')}.port{'.grpc' if 'grpc' in name else ''}={port}"
            for name, port in self.weed_ports.items()
        ]
        self._spawn("s3", [*self.command("s3"), f"-dir={self.objects}", *ports])
        wait_for(f"{self.s3_url}/healthz", self.running["s3"], 60)
        subprocess.run(
            self.command("bucket"), env=self.environment("bucket"), check=True, capture_output=True
        )

    def start_mlflow(self) -> None:
        place = ["--host=127.0.0.1", f"--port={self.mlflow_port}"]
        self._spawn("mlflow", [*self.command("mlflow"), *place])
        wait_for(f"{self.uri}/health", self.running["mlflow"], 300)

    def kill(self, service: str, how: signal.Signals = signal.SIGKILL) -> None:
        process = self.running.pop(service)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        process.wait(60)

    def wipe(self) -> None:
        """Stop everything and lose all volumes."""
        for service in list(self.running):
            self.kill(service)
        shutil.rmtree(self.objects)
        shutil.rmtree(self.database)
        self.database.mkdir()

    def close(self) -> None:
        self.wipe()
        self.database.rmdir()

    def local(self, *command: str, **how: object) -> subprocess.CompletedProcess:
        """A PostgreSQL program as it runs inside the container: over the local socket."""
        place = {"PGHOST": str(self.database), "PGPORT": str(self.postgres_port)}
        return subprocess.run(
            [str(self.postgres_bin / command[0]), *command[1:]],
            env=os.environ | place,
            check=True,
            **how,
        )

    def sql(self, query: str, *values: object, database: str = "mlflow") -> list[tuple]:
        """Rows, read over TCP with the password."""
        with contextlib.closing(self.connect(database)) as connection, connection:
            cursor = connection.cursor()
            cursor.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    def connect(self, database: str = "mlflow", password: str | None = None):
        return psycopg2.connect(
            host="127.0.0.1",
            port=self.postgres_port,
            user="mlflow",
            dbname=database,
            password=password or self.secrets["LLMCLF_POSTGRES_PASSWORD"],
        )

    def _database_user(self) -> str:
        """PostgreSQL refuses to run as root."""
        return "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name

    def _as(self, user: str, command: list[str]) -> None:
        subprocess.run(
            [str(self.postgres_bin / command[0]), *command[1:]],
            user=user if os.getuid() == 0 else None,
            cwd="/",
            check=True,
            capture_output=True,
        )

    def _spawn(self, service: str, command: list[str], user: str | None = None) -> None:
        with (self.logs / f"{service}.log").open("ab") as log:
            self.running[service] = subprocess.Popen(
                command,
                env=self.environment(service),
                cwd="/" if user else self.root,
                user=user if user and os.getuid() == 0 else None,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait_for_postgres(self, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while True:
            assert self.running["postgres"].poll() is None, "PostgreSQL ended"
            try:
                return self.connect("postgres").close()
            except psycopg2.OperationalError:
                assert time.monotonic() < deadline, "PostgreSQL does not answer"
                time.sleep(0.1)
