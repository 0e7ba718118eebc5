"""The snippets of docs/signed-identity.md, which verify real assertions of a running service."""

import base64
import json
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from datafor_token.crypto.at_rest import Keyring
from datafor_token.crypto.keys import Key, KeyPair, SharedKey, new_key_pair
from datafor_token.gate import assertion_keys
from datafor_token.tokens.issuer import signed
from datafor_token.validation.strict_json import compact
from tests.docs import pages
from tests.support import ROOT, Server, basic, need, public_pem

PAGE = "docs/signed-identity.md"
PUBLIC_URL = "https://reports.intra.example"
JACKSON = [Path("/usr/share/java") / f"jackson-{part}.jar" for part in ("core", "annotations", "databind")]
NODE_MODULES = ROOT / "tests" / "console" / "node_modules"

# Each reads assertions from standard input, and prints "user NAME" or "refused" for each.
_PYTHON = """
import sys
for line in sys.stdin:
    try:
        print("user", user_of(line.strip()))
    except jwt.PyJWTError:
        print("refused")
"""
_NODE = """
import { createInterface } from "node:readline";
for await (const line of createInterface({ input: process.stdin })) {
  try {
    console.log("user", await userOf(line));
  } catch {
    console.log("refused");
  }
}
"""
_JAVA = """
class Driver {
    public static void main(String[] arguments) throws Exception {
        var input = new java.io.BufferedReader(new java.io.InputStreamReader(System.in));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            try {
                System.out.println("user " + SignedIdentity.userOf(line));
            } catch (Exception error) {
                System.out.println("refused");
            }
        }
    }
}

public final class SignedIdentity"""
_PHP = """
while (($line = fgets(STDIN)) !== false) {
    try {
        $user = user_of(trim($line));
        echo "user $user\\n";
    } catch (Throwable) {
        echo "refused\\n";
    }
}
"""
_GO = """package main

import (
	"bufio"
	"fmt"
	"os"
)

func main() {
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		if user, err := UserOf(input.Text()); err == nil {
			fmt.Println("user", user)
		} else {
			fmt.Println("refused")
		}
	}
}
"""


class Service(NamedTuple):
    """A running service, and the key that signs its assertions."""

    server: Server
    pair: KeyPair

    def assertion(self, query: str = "?aud=reports") -> str:
        """Return an assertion about the administrator."""
        response = self.server.request("GET", f"/datafor/auth/check{query}", headers=basic())
        return response.headers["X-Datafor-Assertion"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    # Those of docs/protect.md, with the lines of this page.
    (toml,) = pages.blocks(PAGE, "toml")
    settings = tomllib.loads(toml)
    server = Server(
        folder,
        DATAFOR_TOKEN_GATE_ASSERTION=str(settings["GATE_ASSERTION"]),
        DATAFOR_TOKEN_PUBLIC_URL=settings["PUBLIC_URL"],
        DATAFOR_TOKEN_TRUSTED_HOSTS=",".join(settings["TRUSTED_HOSTS"]),
        DATAFOR_TOKEN_TRUSTED_PROXIES="1",
        DATAFOR_TOKEN_URL_PREFIX="/datafor",
        DATAFOR_TOKEN_STORE="file",
    ).start()
    keyring = Keyring([base64.urlsafe_b64decode((folder / "config" / "secret_key").read_text())])
    document = json.loads((folder / "data" / "instance" / "gate_keys.json").read_text())
    yield Service(server, assertion_keys.read(document, keyring).keys[0].pair)
    server.stop()


def python(code: str, folder: Path) -> list[str]:
    (folder / "verify.py").write_text(code + _PYTHON)
    return [sys.executable, str(folder / "verify.py")]


def node(code: str, folder: Path) -> list[str]:
    need("node")
    need("jose", NODE_MODULES / "jose")
    (folder / "node_modules").symlink_to(NODE_MODULES)
    (folder / "verify.mjs").write_text(code + _NODE)
    return ["node", str(folder / "verify.mjs")]


def java(code: str, folder: Path) -> list[str]:
    need("javac", optional=True)
    need("Jackson (libjackson2-databind-java)", JACKSON[-1], optional=True)
    (folder / "Verify.java").write_text(code.replace("\npublic final class SignedIdentity", _JAVA))
    return ["java", "-XX:TieredStopAtLevel=1", "-cp", ":".join(map(str, JACKSON)), str(folder / "Verify.java")]


def php(code: str, folder: Path) -> list[str]:
    need("php")
    (folder / "verify.php").write_text(code + _PHP)
    return ["php", "-d", "display_errors=stderr", str(folder / "verify.php")]


def go(code: str, folder: Path) -> list[str]:
    need("go", optional=True)
    (folder / "identity.go").write_text(code.replace("package identity", "package main"))
    (folder / "main.go").write_text(_GO)
    return ["go", "run", str(folder / "identity.go"), str(folder / "main.go")]


LANGUAGES: dict[str, Callable[[str, Path], list[str]]] = {
    "python": python,
    "js": node,
    "java": java,
    "php": php,
    "go": go,
}


def assertions(service: Service) -> Iterator[tuple[str, str]]:
    """Yield the fault of each assertion to be refused, and the assertion."""
    pair, other = service.pair, new_key_pair()
    now = int(time.time())
    good = {"iss": PUBLIC_URL, "aud": "reports", "sub": "admin", "iat": now, "exp": now + 60}
    kid = str(pair.public.kid)

    def without(claim: str) -> dict[str, Any]:
        return {name: value for name, value in good.items() if name != claim}

    yield "another audience", service.assertion("?aud=wiki")
    yield "no audience", service.assertion("")
    yield "another issuer", signed(pair.private, good | {"iss": "https://other.example"})
    yield "expired", signed(pair.private, good | {"iat": now - 90, "exp": now - 30})
    for claim in ("iss", "exp", "sub"):
        yield f"no {claim}", signed(pair.private, without(claim))
    yield "another key", signed(other.private, good)
    yield "another key with the kid of the right one", signed(Key("ES256", other.private.material, kid), good)
    yield "no kid", signed(Key("ES256", other.private.material), good)
    unsigned = ".".join(encoded(part) for part in ({"typ": "JWT", "alg": "none"}, good))
    yield "alg none", f"{unsigned}."
    yield "alg none with a kid", f"{encoded({'alg': 'none', 'kid': kid})}.{encoded(good)}."
    for secret in (public_pem(pair.private.material), kid):
        shared = SharedKey("HS256", secret.encode())
        header = encoded({"typ": "JWT", "alg": "HS256", "kid": kid})
        signing_input = f"{header}.{encoded(good)}"
        yield "HS256 with what is public", f"{signing_input}.{base64url(shared.sign(signing_input.encode()))}"
    header, claims, signature = service.assertion().split(".")
    yield "other claims", f"{header}.{encoded(good | {'sub': 'eve'})}.{signature}"
    yield "an empty signature", f"{header}.{claims}."
    yield "zeros as signature", f"{header}.{claims}.{base64url(bytes(64))}"
    yield "two parts", f"{header}.{claims}"
    yield "nothing", ""


def encoded(part: dict[str, Any]) -> str:
    return base64url(compact(part).encode())


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_snippet(service: Service, language: str, tmp_path: Path) -> None:
    """The snippet of the page accepts an assertion for its audience, and refuses every other one."""
    (code,) = pages.blocks(PAGE, language)
    for text in (f'"{PUBLIC_URL}"', '"reports"', "127.0.0.1:28080"):
        assert code.count(text) == 1
    command = LANGUAGES[language](code.replace(":28080", f":{service.server.port}"), tmp_path)
    faults, wrong = zip(*assertions(service), strict=True)
    good = service.assertion()
    now = int(time.time())
    mine = {"iss": PUBLIC_URL, "aud": "reports", "sub": "Jörg 李", "iat": now, "exp": now + 60}
    lines = [good, *wrong, signed(service.pair.private, mine), good]
    done = subprocess.run(
        command,
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=False,
        env=pages.environment({"HOME": str(tmp_path)}),
    )
    assert done.returncode == 0, done.stderr
    first, *refused, unicode, last = done.stdout.splitlines()
    assert (first, unicode, last) == ("user admin", "user Jörg 李", "user admin"), done.stderr
    assert dict(zip(faults, refused, strict=True)) == dict.fromkeys(faults, "refused")


def test_every_snippet_is_run() -> None:
    """Every block of code of the page is a setting or a snippet that is run."""
    fenced = [line.removeprefix("```") for line in pages.text(PAGE).splitlines() if line.startswith("```")]
    assert [language for language in fenced if language] == ["toml", "python", "js", "java", "php", "go"]
