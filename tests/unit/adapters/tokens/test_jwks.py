"""A JWK Set: the keys that are taken, and why others are not."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from server.adapters.tokens.jwks import MAX_KEYS, MAX_KID_CHARS, JwksRefused, read
from server.domain.outcomes import JwksFetch, KeyOrigin
from tests.harness.issuer import Jwk, base64url, document, jwk

RSA = rsa.generate_private_key(65_537, 2_048)
P256 = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def test_keys_of_three_kinds_are_taken() -> None:
    """By their names, each with the algorithm of its type, with or without `use`, `alg` and `key_ops`."""
    entries = (
        jwk(RSA, "a", use="sig", alg="RS256"),
        jwk(P256, "b", key_ops=["verify"]),
        jwk(ED, "https://id.example/ключ"),
        jwk(ed25519.Ed25519PrivateKey.generate(), "d", alg="Ed25519"),
    )
    found = read(document(*entries))
    assert {kid: key.algorithm for kid, key in found.keys.items()} == {
        "a": "RS256",
        "b": "ES256",
        "https://id.example/ключ": "EdDSA",
        "d": "EdDSA",
    }
    assert found.skipped == ()
    assert {key.origin for key in found.keys.values()} == {KeyOrigin.JWKS}
    assert len({key.id for key in found.keys.values()}) == 4


def test_a_key_is_named_by_its_kid_and_its_material() -> None:
    """The same key has the same id each time; another key of the same name has another."""
    ids = [str(read(document(jwk(key, kid))).keys[kid].id) for key, kid in ((P256, "a"), (P256, "a"), (P256, "b"))]
    ids.append(str(read(document(jwk(ec.generate_private_key(ec.SECP256R1()), "a"))).keys["a"].id))
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


SHORT_RSA = rsa.generate_private_key(65_537, 1_024)
SKIPPED: dict[str, tuple[Any, str]] = {
    "oct": ({"kty": "oct", "kid": "canary", "k": base64url(b"canary" * 6)}, "its 'kty' is none of RSA, EC and OKP"),
    "no kty": ({"kid": "canary"}, "its 'kty' is none of RSA, EC and OKP"),
    "a text": ("canary", "malformed"),
    "no kid": (jwk(ED, None), "its 'kid' is no text of 1 to 256 characters that can be shown"),
    "kid a number": (jwk(ED, 7), "its 'kid' is no text"),
    "kid empty": (jwk(ED, ""), "its 'kid' is no text"),
    "kid long": (jwk(ED, "x" * (MAX_KID_CHARS + 1)), "its 'kid' is no text"),
    "kid with a line end": (jwk(ED, "canary\n"), "its 'kid' is no text"),
    "kid that turns": (jwk(ED, "\u202ecanary"), "its 'kid' is no text"),
    "for encryption": (jwk(RSA, "canary", use="enc"), "it is not for signatures"),
    "to sign": (jwk(RSA, "canary", key_ops=["sign"]), "it is not for signatures"),
    "operations a number": (jwk(RSA, "canary", key_ops=7), "malformed"),
    "private": (jwk(RSA, "canary", d="AQAB"), "it is a private key, which everybody can read now; replace it"),
    "another algorithm": (jwk(RSA, "canary", alg="PS256"), "its 'alg' is none of RS256, ES256 and EdDSA, or not"),
    "algorithm of another type": (jwk(P256, "canary", alg="RS256"), "its 'alg' is none of RS256"),
    "algorithm a list": (jwk(P256, "canary", alg=["ES256"]), "its 'alg' is none of RS256"),
    "RSA 1024": (jwk(SHORT_RSA, "canary"), "expected an RSA key of 2048 bits or more, a P-256 key, or an Ed25519 key"),
    "RSA huge": (jwk(RSA, "canary", n=base64url(b"\xff" * 1_025)), "expected an RSA key of at most 8192 bits"),
    "RSA slow": (jwk(RSA, "canary", e=base64url(b"\xff" * 9)), "expected an RSA key of at most 8192 bits"),
    "RSA even": (jwk(RSA, "canary", e="AQAA"), ""),
    "RSA without n": (jwk(RSA, "canary", n=None), "malformed"),
    "RSA n a number": (jwk(RSA, "canary", n=7), ""),
    "RSA n no Base64": (jwk(RSA, "canary", n="~~"), ""),
    "P-384": (jwk(ec.generate_private_key(ec.SECP384R1()), "canary"), "its curve is not P-256"),
    "P-256 off the curve": (jwk(P256, "canary", x=base64url(b"\1" * 32)), ""),
    "P-256 without y": (jwk(P256, "canary", y=None), "malformed"),
    "X25519": (jwk(ED, "canary", crv="X25519"), "its curve is not Ed25519"),
    "Ed25519 short": (jwk(ED, "canary", x=base64url(b"x" * 31)), ""),
}


@pytest.mark.parametrize("name", SKIPPED)
def test_other_keys_are_left_out(name: str) -> None:
    """By their number and the reason, with nothing of theirs in it; the keys beside them are taken."""
    entry, reason = SKIPPED[name]
    found = read(document(jwk(P256, "good"), entry))
    assert set(found.keys) == {"good"}
    assert len(found.skipped) == 1
    assert found.skipped[0].startswith(f"key 2: {reason}")
    assert "canary" not in found.skipped[0]


def test_the_first_of_a_name_wins() -> None:
    """A later key of the same name is left out, and told of."""
    found = read(document(jwk(P256, "a"), jwk(ED, "a"), jwk(P256, "a")))
    assert found.keys["a"].algorithm == "ES256"
    assert [line.partition(":")[0] for line in found.skipped] == ["key 2", "key 3"]


BAD: dict[str, tuple[bytes, JwksFetch]] = {
    "empty": (b"", JwksFetch.MALFORMED),
    "no JSON": (b"<html>canary</html>", JwksFetch.MALFORMED),
    "deep": (b"[" * 100_000, JwksFetch.MALFORMED),
    "a list": (b"[]", JwksFetch.MALFORMED),
    "no keys": (b'{"canary": []}', JwksFetch.MALFORMED),
    "keys an object": (b'{"keys": {}}', JwksFetch.MALFORMED),
    "none": (document(), JwksFetch.NO_KEYS),
    "none that fits": (document(*[entry for entry, _ in SKIPPED.values()]), JwksFetch.NO_KEYS),
    "too many": (document(*[jwk(ED, str(number)) for number in range(MAX_KEYS + 1)]), JwksFetch.TOO_LARGE),
}


@pytest.mark.parametrize("name", BAD)
def test_a_set_that_is_of_no_use(name: str) -> None:
    """Is refused as a whole, in a short text without anything of it: the keys of before go on."""
    text, outcome = BAD[name]
    with pytest.raises(JwksRefused) as refused:
        read(text)
    assert refused.value.outcome is outcome
    assert len(str(refused.value)) <= 500
    assert "canary" not in str(refused.value)


def test_as_many_as_there_may_be() -> None:
    """The bound itself is taken."""
    entries: list[Jwk] = [jwk(ED, str(number)) for number in range(MAX_KEYS)]
    assert len(read(document(*entries)).keys) == MAX_KEYS
