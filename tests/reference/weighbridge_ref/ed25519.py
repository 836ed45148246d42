"""Ed25519 (RFC 8032), strict: every other implementation accepts the signatures accepted here.

Written to be read. It is slow, and its timing depends on the secrets, so it signs only test vectors. Results are
cached, since a run over many vectors checks the same few keys and signatures again and again.
"""

import functools
import hashlib

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493  # order of the base point
D = -121665 * pow(121666, -1, P) % P
SQRT_MINUS_1 = pow(2, (P - 1) // 4, P)


# --- points, in extended coordinates (X, Y, Z, T) with x = X/Z, y = Y/Z, xy = T/Z ------------------

IDENTITY = (0, 1, 1, 0)


def add(p, q):
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * p[3] * q[3] * D % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiply(scalar: int, point):
    result = IDENTITY
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def negate(p):
    return -p[0] % P, p[1], p[2], -p[3] % P


def equal(p, q):
    return (p[0] * q[2] - q[0] * p[2]) % P == 0 and (p[1] * q[2] - q[1] * p[2]) % P == 0


def encode(p) -> bytes:
    z_inverse = pow(p[2], -1, P)
    x, y = p[0] * z_inverse % P, p[1] * z_inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


@functools.lru_cache(maxsize=4096)
def decode(data: bytes):
    """The point that `data` encodes canonically, or None.

    Encodings that are not canonical are refused: y of P or more, and the sign bit on an x of zero.
    """
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & (1 << 255) - 1
    if len(data) != 32 or y >= P:
        return None
    x_squared = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(x_squared, (P + 3) // 8, P)
    if (x * x - x_squared) % P:
        x = x * SQRT_MINUS_1 % P
    if (x * x - x_squared) % P:
        return None
    if x == 0 and sign:
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


BASE = decode((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def has_small_order(point) -> bool:
    return equal(multiply(8, point), IDENTITY)


@functools.lru_cache(maxsize=4096)
def is_torsion_free(point) -> bool:
    return equal(multiply(L, point), IDENTITY)


# --- signatures -----------------------------------------------------------------------------------

def _hash_to_scalar(*parts: bytes) -> int:
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % L


def expand(seed: bytes):
    """The secret scalar and the prefix of the nonce hash."""
    digest = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little")
    scalar = scalar & (1 << 254) - 8 | 1 << 254
    return scalar, digest[32:]


def public_key(seed: bytes) -> bytes:
    return encode(multiply(expand(seed)[0], BASE))


def sign(seed: bytes, message: bytes) -> bytes:
    scalar, prefix = expand(seed)
    public = encode(multiply(scalar, BASE))
    r = _hash_to_scalar(prefix, message)
    r_bytes = encode(multiply(r, BASE))
    k = _hash_to_scalar(r_bytes, public, message)
    return r_bytes + ((r + k * scalar) % L).to_bytes(32, "little")


@functools.lru_cache(maxsize=4096)
def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Strict verification; `public` has passed the checks of a vkey (spec/head.md, Keys).

    S below L; R a canonical encoding, not of small order; the equation without the cofactor.
    """
    if len(signature) != 64:
        return False
    a, r = decode(public), decode(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L or has_small_order(r):
        return False
    k = _hash_to_scalar(signature[:32], public, message)
    return equal(multiply(s, BASE), add(r, multiply(k, a)))
