"""Names of the signature algorithms (RFC 7518, RFC 8037), without the libraries that implement them."""

# Minimum length of a shared key in bytes (RFC 7518 section 3.2: the length of the hash).
HMAC_LENGTHS = {"HS256": 32, "HS384": 48, "HS512": 64}
RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
ELLIPTIC_CURVE = ("ES256", "ES384", "ES512")
ALGORITHMS = (*HMAC_LENGTHS, *RSA, *ELLIPTIC_CURVE, "EdDSA")


def is_shared(algorithm: str) -> bool:
    """Return whether the algorithm signs and verifies with one shared key."""
    return algorithm in HMAC_LENGTHS
