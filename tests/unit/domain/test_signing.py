"""Signatures of webhooks, as the reference implementation verifies them."""

import base64
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from server.domain.signing import SigningKey, signed

OLD = f"whsec_{base64.b64encode(bytes(24)).decode()}"
NEW = f"whsec_{base64.b64encode(bytes(range(64))).decode()}"
BODY = '{"type":"message.created","data":{"text":"마루"}}'.encode()


def test_the_reference_verifies_it() -> None:
    """The receiver's library takes the headers, and gives the JSON."""
    headers = signed([SigningKey.parse(NEW)], "id-1", int(time.time()), BODY)
    assert Webhook(NEW).verify(BODY, dict(headers))["data"] == {"text": "마루"}


def test_the_example_of_the_specification() -> None:
    """The same signature as in the specification's own example."""
    key = SigningKey.parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_both_secrets_during_a_rotation() -> None:
    """A receiver with the new secret and a receiver with the previous secret believe it; another does not."""
    headers = dict(signed([SigningKey.parse(NEW), SigningKey.parse(OLD)], "id-1", int(time.time()), BODY))
    Webhook(NEW).verify(BODY, headers)
    Webhook(OLD).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(base64.b64encode(b"x" * 32).decode()).verify(BODY, headers)


def test_a_secret_may_lack_its_padding() -> None:
    """Base64 with and without `=` at its end is the same key."""
    secret = f"whsec_{base64.b64encode(b'k' * 32).decode()}"
    assert SigningKey.parse(secret).sign(b"m") == SigningKey.parse(secret.rstrip("=")).sign(b"m")


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk",
        f"whsec_{base64.b64encode(bytes(23)).decode()}",
        f"whsec_{base64.b64encode(bytes(65)).decode()}",
        "whsec_마루마루마루마루마루마루마루마루마루마루",
        "whsec_not base64 but long enough to be a key of its own",
    ],
)
def test_a_bad_secret_is_refused_and_not_repeated(secret: str) -> None:
    """The error tells how to make a secret."""
    with pytest.raises(ValueError, match="expected whsec_ and 24 to 64 bytes") as caught:
        SigningKey.parse(secret)
    assert len(secret) < 7 or secret[6:] not in str(caught.value)


def test_a_key_is_shown_nowhere() -> None:
    """Its representation hides it."""
    assert repr(SigningKey.parse(NEW)) == "SigningKey(********)"
