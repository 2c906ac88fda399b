"""The nodes of a mesh as child processes of this one: start, kill, drain, wait until healthy.

Rule: no node outlives the process that started it. Each child's standard input is a pipe that its parent holds open;
the child watches it and drains when it closes, which it does however the parent ends, SIGKILL included.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Final, Self

import grpc

from jukinet.cli.connect import health_of
from jukinet.cli.layout import Mesh

DRAIN_SECONDS: Final = 20.0
"""How long a node may take to end after SIGTERM; its own limit for running calls is 10 s."""
_POLL_SECONDS: Final = 0.05
_LAST_WORDS_BYTES: Final = 2000


class NodeDied(Exception):
    """A node ended by itself; the text gives its exit code and its last words. Its log has the rest."""

    def __init__(self, name: str, code: int, words: str) -> None:
        super().__init__(f"{name} ended with exit code {code}{f': {words}' if words else ''}")
        self.name = name
        self.code = code


class NotHealthy(Exception):
    """Nodes were not healthy in time; the text names them. Their logs say why."""

    def __init__(self, names: Iterable[str], seconds: float) -> None:
        super().__init__(f"not healthy after {seconds:g} s: {', '.join(names)}")


class MeshProcesses:
    """Runs nodes of a mesh; as an async context manager it ends them all.

    Args:
        mesh: whose nodes.
        environ: added to the environment of every node, such as `OTEL_EXPORTER_OTLP_ENDPOINT`.
    """

    def __init__(self, mesh: Mesh, environ: Mapping[str, str] | None = None) -> None:
        self.mesh = mesh
        self._environ = dict(environ or {})
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.terminate_all()

    def start(self, name: str, environ: Mapping[str, str] | None = None) -> None:
        """Starts a node that is not running. Its output is appended to its log.

        Args:
            name: such as `municipality-131016`.
            environ: added to this node's environment.

        Raises:
            ValueError: it runs already.
        """
        if self.is_running(name):
            raise ValueError(f"{name} runs already")
        if name in self._processes:
            _close_pipe(self._processes[name])  # it may have ended by itself
        self.mesh.log_path(name).touch(mode=0o600)
        config = self.mesh.config(name)
        if config.address_file is not None:
            # What an earlier run wrote there is not where this one will be.
            config.address_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "jukinet.cli", "node", "run", "--until-stdin-closes", "--config"]
        with self.mesh.log_path(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [*command, str(self.mesh.config_path(name))],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environ, **(environ or {})},
                # Ctrl-C reaches a whole process group; nodes are to end in order, when their parent says so.
                start_new_session=True,
            )

    def start_all(self) -> None:
        """Starts all nodes, the center first."""
        for name in self.mesh.names:
            self.start(name)

    def is_running(self, name: str) -> bool:
        """Tells whether a node's process lives."""
        return name in self._processes and self._processes[name].poll() is None

    def pid(self, name: str) -> int:
        """Process id of a node that was started."""
        return self._processes[name].pid

    def exit_code(self, name: str) -> int | None:
        """Exit code of a node that was started; negative for a signal, None while it runs."""
        return self._processes[name].poll()

    def kill(self, name: str) -> None:
        """Ends a node as a power cut would (SIGKILL), and waits until its process is gone."""
        process = self._processes[name]
        process.kill()
        process.wait()
        _close_pipe(process)

    def terminate(self, name: str) -> None:
        """Asks a node to drain and end (SIGTERM); `wait_ended` waits for it."""
        if self.is_running(name):
            self._processes[name].terminate()

    async def wait_ended(self, name: str, *, seconds: float = DRAIN_SECONDS) -> int:
        """Waits until a node's process is gone; kills it when it takes too long.

        Returns:
            Its exit code.
        """
        process = self._processes[name]
        try:
            await asyncio.to_thread(process.wait, seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        _close_pipe(process)
        return process.wait()

    async def terminate_all(self, *, seconds: float = DRAIN_SECONDS) -> dict[str, int]:
        """Drains all nodes, the outermost first so that those they dial still answer, and waits for them.

        Returns:
            Exit code by name.
        """
        for name in reversed(self._processes):
            self.terminate(name)
        ended = await asyncio.gather(*(self.wait_ended(name, seconds=seconds) for name in self._processes))
        return dict(zip(self._processes, ended, strict=True))

    async def wait_healthy(self, names: Iterable[str] | None = None, *, seconds: float = 60.0) -> None:
        """Waits until nodes say that they serve.

        Args:
            names: which; all that were started if None.
            seconds: how long.

        Raises:
            NodeDied: one ended by itself.
            NotHealthy: it took too long.
        """
        waiting = list(self._processes if names is None else names)
        try:
            async with asyncio.timeout(seconds):
                while waiting:
                    await self._wait_one(waiting[0])
                    waiting.pop(0)
        except TimeoutError:
            raise NotHealthy(waiting, seconds) from None

    async def watch(self) -> NodeDied:
        """Waits until a node ends by itself.

        Returns:
            Which one, and how.
        """
        while True:
            for name in self._processes:
                if not self.is_running(name):
                    return self._obituary(name)
            await asyncio.sleep(_POLL_SECONDS)

    async def _wait_one(self, name: str) -> None:
        while True:
            if not self.is_running(name):
                raise self._obituary(name)
            try:
                if await health_of(self.mesh, name, seconds=2.0):
                    return
            except (grpc.aio.AioRpcError, OSError):
                pass
            await asyncio.sleep(_POLL_SECONDS)

    def _obituary(self, name: str) -> NodeDied:
        return NodeDied(name, self._processes[name].wait(), self._last_words(name))

    def _last_words(self, name: str) -> str:
        """The last line of a node's log that is meant for people: refusals to start are sentences, logs are JSON."""
        with self.mesh.log_path(name).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LAST_WORDS_BYTES))
            lines = log.read().decode("utf-8", "replace").splitlines()
        return next((line for line in reversed(lines) if line and not line.startswith("{")), "")


def end_when_stdin_closes() -> None:
    """Makes this process drain when its parent is gone, and end for certain soon after."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(DRAIN_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _close_pipe(process: "subprocess.Popen[bytes]") -> None:
    if process.stdin is not None:
        process.stdin.close()
