"""Baseline B, a naive Flask demo. A form, PyJWT and ``jsonify``: no sign-in, no store, no validation, no log.

It imports nothing of the service, so that its memory is its own.
"""

import os
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from flask import Flask, Response, jsonify, request

EXPIRE = 86400  # seconds

app = Flask(__name__)


def _key(algorithm: str) -> Any:
    """Read and check a private key once at the start: the best that a demo can do."""
    folder = os.environ.get("BENCH_KEYS", "")
    return load_pem_private_key((Path(folder) / f"{algorithm}.pem").read_bytes(), None) if folder else None


KEYS: dict[str, Any] = {algorithm: _key(algorithm) for algorithm in ("RS256", "ES256")}


def _issued(algorithm: str, key: Any) -> Response:
    claims = {"loginname": request.form["username"], "exp": int(time.time()) + EXPIRE}
    return jsonify(success=True, expire=EXPIRE, token=jwt.encode(claims, key, algorithm))


@app.post("/generate")
def generate() -> Response:
    return _issued("HS256", request.form["privateKey"])


@app.post("/generate/<algorithm>")
def generate_with_key(algorithm: str) -> Response:
    return _issued(algorithm, KEYS[algorithm])


@app.get("/hello")
def hello() -> str:
    return "hello"
