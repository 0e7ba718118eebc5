"""Texts that only the holder of another secret, such as a cookie, can read: encrypted under a key derived from it."""

import base64
import hashlib
import hmac

from cryptography.fernet import Fernet, InvalidToken


def seal(holder: str, purpose: str, text: str) -> str:
    """Encrypt a text under a key derived from the secret ``holder`` has, for one purpose."""
    return _cipher(holder, purpose).encrypt(text.encode()).decode()


def unseal(holder: str, purpose: str, sealed: object) -> str | None:
    """Return the text, or None for a value that was not encrypted under this key."""
    try:
        return _cipher(holder, purpose).decrypt(sealed.encode()).decode() if isinstance(sealed, str) else None
    except InvalidToken:
        return None


def _cipher(holder: str, purpose: str) -> Fernet:
    key = hmac.digest(holder.encode(), f"datafor_token {purpose}".encode(), hashlib.sha256)
    return Fernet(base64.urlsafe_b64encode(key))
