"""The settings of tokens: the keys that they are checked with, and the demands on their claims."""

from datetime import datetime
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode

from server.domain.addresses import is_loopback
from server.domain.identity import Action
from server.settings import values
from server.settings.fields import FilePath, Seconds, private

Moment = Annotated[datetime, BeforeValidator(values.moment)]
PemText = Annotated[str, AfterValidator(values.pem_text)]
Pattern = Annotated[str, AfterValidator(values.pattern)]
Url = Annotated[str, AfterValidator(values.http_url)]

_YEAR = 365 * 24 * 3600.0


class TokenSettings(BaseModel):
    """A part of `Settings`."""

    jwt_secret: SecretStr | None = private("a text of 32 bytes or more")
    jwt_secret_file: FilePath | None = None
    jwt_secret_previous: SecretStr | None = private("a text of 32 bytes or more")
    jwt_secret_previous_file: FilePath | None = None
    jwt_secret_previous_until: Moment | None = None
    jwt_public_key: PemText | None = private("PEM text of one or more keys, or a PEM file's path")
    jwt_public_key_file: FilePath | None = None
    jwt_jwks_url: Url | None = private("a URL such as https://id.example.com/jwks.json")
    jwt_jwks_insecure: bool = Field(default=False, description="1 or 0")
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_leeway: Seconds = Field(default=5.0, ge=0, le=300, description="a duration from 0 to 5m")
    jwt_max_lifetime: Seconds = Field(default=0.0, ge=0, le=100 * _YEAR, description="a duration up to 36500d; 0: any")
    revocation_life: Seconds = Field(
        default=_YEAR * 30 / 365, ge=60, le=100 * _YEAR, description="a duration from 1m to 36500d"
    )
    token_grace: Seconds = Field(default=5.0, ge=0, le=300, description="a duration from 0 to 5m")
    default_grants: Annotated[dict[Pattern, frozenset[Action]], NoDecode, BeforeValidator(values.json_object)] = Field(
        default={},
        description="a JSON object of channel patterns and actions: join, send, moderate, edit_others, react, publish",
    )

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        sources = ("jwt_secret", "jwt_public_key", "jwt_jwks_url")
        given = [f"MARU_{name.upper()}" for name in sources if getattr(self, name)]
        if len(given) > 1:
            both = "all" if len(given) == len(sources) else "both"
            raise ValueError(f"{', '.join(given)}: {both} are set, expected one of them")
        if self.jwt_secret_previous and not self.jwt_secret:
            raise ValueError("MARU_JWT_SECRET_PREVIOUS: set without MARU_JWT_SECRET, the secret that comes after it")
        if self.jwt_secret_previous_until and not self.jwt_secret_previous:
            raise ValueError("MARU_JWT_SECRET_PREVIOUS_UNTIL: set without MARU_JWT_SECRET_PREVIOUS, whose end it is")
        return self

    @model_validator(mode="after")
    def _safe_issuer(self) -> Self:
        url = urlsplit(self.jwt_jwks_url or "https://")
        if url.scheme == "http" and not (self.jwt_jwks_insecure or is_loopback(url.hostname)):
            raise ValueError(
                "MARU_JWT_JWKS_URL: http, expected https: whoever is between here and the issuer could make tokens for "
                "everybody (if nobody can be, set MARU_JWT_JWKS_INSECURE=1)"
            )
        return self
