"""The examples of README and of the HTTP API, as a reader would type them."""

import subprocess
from pathlib import Path

from tests.docs import pages
from tests.docs.examples import Example, check, examples
from tests.support import Server, free_port, need, wait_for


def test_the_examples_of_the_calls(tmp_path: Path) -> None:
    """The commands of the page, run in their order against a real server, give the responses that it shows."""
    need("curl")
    need("openssl")
    found = [one for one in examples("docs/http-api.md") if "pip install" not in one.command]
    assert sum(bool(one.response) for one in found) >= 15
    # Nothing is fetched from another host: nothing listens on that port.
    for host in ("keycloak.example", "login.microsoftonline.com", "auth.example"):
        assert any(f"https://{host}/" in one.command for one in found)
        found = [Example(one.command.replace(f"https://{host}", "https://localhost:1"), one.response) for one in found]
    server = Server(tmp_path, DATAFOR_TOKEN_ADMIN_PASSWORD="").start()
    check(found, tmp_path, server.port)
    server.stop()


def test_readme_from_top_to_bottom(tmp_path: Path) -> None:
    """Every line of README works in an empty folder: the server, and a token that signs in, without a warning."""
    need("curl")
    install, checkout, *rest = examples("README.md")
    assert install.command == "pip install datafor_token-*.whl\ndatafor-token serve\n"
    assert checkout.command == "make run\n"
    port = free_port()
    environ = pages.environment({"DATAFOR_TOKEN_BIND": f"127.0.0.1:{port}"})
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(["datafor-token", "serve"], cwd=tmp_path, env=environ, stdout=log, stderr=log)
        try:
            wait_for(port)
            check(rest, tmp_path, port)
        finally:
            server.terminate()
            assert server.wait(60) == 0, (tmp_path / "log").read_text()
