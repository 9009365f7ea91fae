"""The settings of rules and hooks: the backend that is asked before commands take effect."""

import re
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode

from server.domain.rules import Rule
from server.domain.signing import SigningKey
from server.settings import rules, values
from server.settings.fields import FilePath, private

MAX_URL_CHARS = 2_048
"""Of the backend's URL."""

_PLAIN = re.compile(r"[!-~]+", re.ASCII)
_EXPECTED = "expected a URL such as https://app.example.com/maru, or one of http"


def backend_url(value: SecretStr) -> SecretStr:
    """Return a URL unchanged. Raises `ValueError`, which does not repeat it: its path may be secret."""
    text = values.plain(value.get_secret_value())
    if len(text) > MAX_URL_CHARS or not _PLAIN.fullmatch(text):
        raise ValueError(_EXPECTED)
    try:
        url = urlsplit(text)
        sound = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        raise ValueError(_EXPECTED) from None
    if not sound:
        raise ValueError(_EXPECTED)
    if "@" in url.netloc:
        raise ValueError("the URL holds a user or a password; MARU_HOOK_SECRET tells the backend who asks")
    if url.fragment:
        raise ValueError("the URL holds a part behind '#', which no server is sent")
    return value


def backend_secret(value: SecretStr) -> SecretStr:
    """Return a secret unchanged. Raises `ValueError`, which does not repeat it."""
    SigningKey.parse(values.plain(value.get_secret_value()))
    return value


_Secret = Annotated[SecretStr, AfterValidator(backend_secret)]


class AskingSettings(BaseModel):
    """A part of `Settings`."""

    channel_rules: Annotated[dict[str, Rule], NoDecode, BeforeValidator(rules.rules)] = Field(
        default={}, description="a JSON object of channel patterns and their rules, or the path of a file that has it"
    )
    hook_url: Annotated[SecretStr, AfterValidator(backend_url)] | None = private("a URL of http or https")
    hook_secret: _Secret | None = private("whsec_ and base64")
    hook_secret_file: FilePath | None = None
    hook_secret_previous: _Secret | None = private("whsec_ and base64")
    hook_secret_previous_file: FilePath | None = None

    @model_validator(mode="after")
    def _hooks_fit(self) -> Self:
        asking = next((pattern for pattern, rule in self.channel_rules.items() if rule.hooks), None)
        if asking is not None and self.hook_url is None:
            raise ValueError(f"MARU_CHANNEL_RULES: {asking}: hooks: needs MARU_HOOK_URL, which is not set")
        if self.hook_url is not None and self.hook_secret is None:
            raise ValueError(
                "MARU_HOOK_SECRET: not set, and MARU_HOOK_URL is; expected whsec_ and base64, "
                'make one: echo "whsec_$(openssl rand -base64 32)"'
            )
        for name in ("hook_secret", "hook_secret_previous"):
            needed = "hook_url" if name == "hook_secret" else "hook_secret"
            if getattr(self, name) is not None and getattr(self, needed) is None:
                raise ValueError(f"MARU_{name.upper()}: needs MARU_{needed.upper()}, which is not set")
        return self
