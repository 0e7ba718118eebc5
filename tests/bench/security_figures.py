"""``python -m tests.bench.security_figures``: the cost of refusals on this machine.

Medians; what is compared is measured in turns, A B C A B C.
"""

import contextlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from datafor_token.tokens import verifier
from tests.proxies.sites import CONSOLE, configured
from tests.support import Server, basic, free_port, wait_for

ROUNDS = 100


def median_ms(*calls: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    """Measure the median duration of each call in milliseconds, in turns."""
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for number, call in enumerate(calls):
            begun = time.perf_counter()
            call()
            taken[number].append((time.perf_counter() - begun) * 1000)
    return [statistics.median(one) for one in taken]


def refused(text: str) -> None:
    with contextlib.suppress(verifier.Refused):
        verifier.read(text)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def sign_in(folder: Path) -> None:
    """Measure unknown user, wrong password and disabled user, from a new address each time."""
    server = Server(folder).start()
    record = server.data_dir / "users" / "admin.json"
    (server.data_dir / "users" / "off.json").write_text(
        record.read_text().replace('"admin"', '"off"').replace("true", "false")
    )
    address = [0]

    def attempt(name: str) -> Callable[[], object]:
        def call() -> object:
            # An address is throttled after ten.
            address[0] += 1
            server.client_address = f"127.1.{address[0] // 250}.{address[0] % 250 + 1}"
            return server.request("GET", "/auth/check", headers=basic(name, "wrong"))

        return call

    wrong, unknown, disabled = median_ms(attempt("admin"), attempt("nobody"), attempt("off"))
    ratios = f"unknown user x {unknown / wrong:.3f}; disabled user x {disabled / wrong:.3f}"
    say(f"W2 wrong password {wrong:.1f} ms; {ratios}")
    server.stop()


def half_open(folder: Path) -> None:
    """Measure a request through nginx, alone and beside 100 clients that send half a request."""
    server = Server(folder, DATAFOR_TOKEN_URL_PREFIX="/datafor", DATAFOR_TOKEN_TRUSTED_PROXIES="1").start()
    front = Server(folder)
    front.port = free_port()
    (folder / "nginx.conf").write_text(configured("nginx", folder, front.port, server.port, 1))
    nginx = subprocess.Popen(
        [str(shutil.which("nginx")), "-c", str(folder / "nginx.conf"), "-e", "stderr", "-g", "daemon off; user root;"],
        stderr=subprocess.DEVNULL,
    )
    wait_for(front.port)

    def good() -> object:
        return front.request("GET", "/datafor/healthz", headers={"Host": CONSOLE})

    (alone,) = median_ms(good)
    with contextlib.ExitStack() as stack:
        for number in range(100):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", front.port)))
            client.sendall(
                f"POST /datafor/x HTTP/1.1\r\nHost: {CONSOLE}\r\n".encode()
                + (b"Content-Length: 9\r\n\r\nab" if number % 2 else b"")
            )
        (beside,) = median_ms(good)
    say(f"W12 through nginx alone {alone:.1f} ms; beside 100 half-open clients {beside:.1f} ms")
    nginx.terminate()
    nginx.wait()
    server.stop()


def main() -> None:
    (huge,) = median_ms(lambda: refused("A" * 1_000_000 + "." + "B" * 48_576 + ".C"))
    say(f"J3 a token of 1 MiB is refused in {huge:.3f} ms")
    for measure in (sign_in, half_open):
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder))


if __name__ == "__main__":
    main()
