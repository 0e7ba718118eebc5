"""A real Redis for tests."""

import subprocess

from tests.support import free_port, need, wait_for


class Redis:
    """A real Redis on a free port."""

    def __init__(self) -> None:
        need("redis-server")
        self.uri = f"redis://127.0.0.1:{free_port()}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Redis":
        port = self.uri.rpartition(":")[2]
        self.process = subprocess.Popen(
            ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"],
            stdout=subprocess.DEVNULL,
        )
        wait_for(int(port))
        return self

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
