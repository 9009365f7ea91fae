"""The seal of every server that a test starts, for tests that hint as a replica does."""

from pydantic import SecretStr

from server.adapters.redis import keys
from server.adapters.redis.hints import encode_hint, sealed
from server.adapters.seal import Seal
from server.bootstrap.cluster import hint_secret
from server.domain.events import LogEvent
from server.settings.model import Settings
from tests.harness.server import SECRET

SEAL = Seal(hint_secret(Settings(_env_file=None, jwt_secret=SecretStr(SECRET))))


def hint_at(event: LogEvent, topic: str | None = None) -> bytes:
    """Return the hint at an event, sealed for a topic; without any, for that of a single Redis."""
    return sealed(encode_hint(event), topic or keys.topic(event.channel), SEAL)
