"""Code in five languages that signs a token of one application, and the curl lines for it, without its secret.

The code is in ``templates/console/code``. A token that it signs follows the application's rules about claims.
"""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flask import render_template

from datafor_token.applications import policy
from datafor_token.applications.record import Application
from datafor_token.crypto.algorithms import is_shared
from datafor_token.validation import claims
from datafor_token.web.api.paths import MODELER

LANGUAGES: Mapping[str, str] = {
    "python": "Python", "node": "Node.js", "java": "Java", "php": "PHP", "go": "Go", "curl": "curl",
}  # fmt: skip


class _Code(str):
    """An expression of the language among the claims."""

    __slots__ = ()


_SIZES = {"ES256": 32, "ES384": 48, "ES512": 66}  # bytes of each number of a signature
_GO = {
    "HS": ["crypto/hmac"], "RS": ["crypto", "crypto/rand", "crypto/rsa"], "PS": ["crypto", "crypto/rand", "crypto/rsa"],
    "ES": ["crypto/ecdsa", "crypto/rand"], "Ed": ["crypto/ed25519"],
}  # fmt: skip


def is_available(language: str, application: Application) -> bool:
    """Return whether the language can sign for the application: not if a provider does, nor PHP with RSA-PSS."""
    if language == "curl":
        return True
    return not application.jwks_uri and not (language == "php" and application.algorithm.startswith("PS"))


def code_for(language: str, application: Application, base: str) -> str:
    """Return the code for an application; ``base`` is the URL of the service."""
    algorithm = application.algorithm
    family, bits = algorithm[:2], int(algorithm[2:]) if algorithm[2:].isdigit() else 0
    # Go has SHA-384 in the package of SHA-512.
    hash_package = "sha256" if algorithm.endswith("256") else "sha512"
    write = _WRITERS.get(language, _python)
    # PyJWT sets alg itself.
    alg = {} if language == "python" else {"alg": algorithm}
    header = {"typ": (application.token_types or ("JWT",))[0], **alg, **_kid(application)}
    sign = "$" if language == "php" else ""
    lifetime = min(application.expire, application.max_lifetime or application.expire)
    times = {"iat": _Code(f"{sign}now"), "exp": _Code(f"{sign}now + {lifetime}")}
    return render_template(
        f"console/code/{language}.txt",
        name=application.name,
        algorithm=algorithm,
        family=family,
        bits=bits,
        shared=is_shared(algorithm),
        size=_SIZES.get(algorithm),
        hash=hash_package,
        imports=sorted(_go_imports(family, hash_package)),
        header=write(header),
        claims=write({**_claims(application, _Code(f"{sign}user")), **times}),
        **_addresses(application, base),
    )


def _claims(application: Application, user: _Code) -> dict[str, Any]:
    """Return the claims of a token that the application accepts, without its times."""
    fieldmap = application.fieldmap
    found: dict[str, Any] = {}
    for claim, values in (application.require or {}).items():
        _set(found, claim, values[0])
    if application.inituser or application.sync:
        for claim, value in ((fieldmap.name, "Lena Wu"), (fieldmap.email, "lena@example.org")):
            if claim:
                _set(found, claim, value)
    _set(found, fieldmap.username, user)
    if application.issuer:
        found["iss"] = application.issuer
    audience = [one for one in application.audience or () if one != policy.ANY]
    return {**found, **({"aud": audience[0]} if audience else {})}


def _set(found: dict[str, Any], claim: str, value: Any) -> None:
    """Set a claim, which is named or, in other claims, pointed to."""
    *outer, last = claims.members(claim) if claim.startswith("/") else [claim]
    for name in outer:
        inner = found.setdefault(name, {})
        if not isinstance(inner, dict):
            return
        found = inner
    found[last] = value


def _kid(application: Application) -> dict[str, str]:
    """Return the ``kid`` of the only public key, if there is one."""
    keys = [] if is_shared(application.algorithm) else [str(key.kid) for key in application.key.all()]
    return {"kid": keys[0]} if len(keys) == 1 else {}


def _go_imports(family: str, hash_package: str) -> Sequence[str]:
    found = ["encoding/base64", "encoding/json", "fmt", "os", "time", *_GO[family]]
    if family != "Ed":
        found.append(f"crypto/{hash_package}")
    if family != "HS":
        found += ["crypto/x509", "encoding/pem", "errors"]
    return found


def _addresses(application: Application, base: str) -> dict[str, str]:
    return {
        "sent_name": shlex.quote(f"name={application.name}"),
        "generate": shlex.quote(f"{base}{MODELER}/token/generate"),
        "detail": shlex.quote(f"{base}{MODELER}/user/detail"),
        "link": f"{base}/auth/enter?{application.token_name}=$TOKEN&next=/",
    }


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _writer(text: Callable[[Any], str], shape: str, arrow: str) -> Callable[[Any], str]:
    """Return a function that writes a value as an expression of a language.

    ``text`` writes a text, number or truth value. ``shape`` has a place for the members of an object, and ``arrow`` is
    between a name and its value.
    """

    def write(value: Any) -> str:
        if isinstance(value, dict):
            return shape % ", ".join(f"{text(name)}{arrow}{write(one)}" for name, one in value.items())
        return str(value) if isinstance(value, _Code) else text(value)

    return write


def _python_text(value: Any) -> str:
    return repr(value) if isinstance(value, bool) else _json(value)


def _php_text(value: Any) -> str:
    if not isinstance(value, str):
        return _json(value)
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _java(value: Any) -> str:
    """Return an expression that joins the parts of the JSON text of a value."""
    parts: list[str] = [""]

    def add(one: Any) -> None:
        if isinstance(one, dict):
            for number, (name, inner) in enumerate(one.items()):
                parts[-1] += f"{', ' if number else '{'}{_json(name)}: "
                add(inner)
            parts[-1] += "}" if one else "{}"
        elif isinstance(one, _Code):
            parts.extend([f"quoted({one})" if one == "user" else f"({one})", ""])
        else:
            parts[-1] += _json(one)

    add(value)
    return " + ".join(part if number % 2 else _json(part) for number, part in enumerate(parts))


_python = _writer(_python_text, "{%s}", ": ")
_WRITERS: Mapping[str, Callable[[Any], str]] = {
    "python": _python,
    "node": _writer(_json, "{ %s }", ": "),
    "java": _java,
    "php": _writer(_php_text, "[%s]", " => "),
    "go": _writer(_json, "map[string]any{%s}", ": "),
}
