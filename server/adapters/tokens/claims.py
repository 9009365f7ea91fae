"""Read single claims of a token. A malformed claim is refused with `Unauthenticated`."""

import binascii
import math
from collections.abc import Mapping
from typing import Any

from server.domain.channels import is_pattern
from server.domain.errors import Unauthenticated
from server.domain.identity import MAX_NAME_CHARS, MAX_USER_CHARS, Action, UserId
from server.domain.texts import is_breaking, is_visible, visible

MAX_TIER_CHARS = 64
"""Bound of `tier`. A setting names no longer one."""

YEAR_10000 = 253_402_300_800
"""In seconds since the epoch. `session:ready` has `exp` as an RFC 3339 date, whose year has four digits."""

_ACTIONS = {action.value: action for action in Action}

_TO_BASE64 = bytes.maketrans(b"-_", b"+/")
_TO_BASE64URL = bytes.maketrans(b"+/", b"-_")

_shared: dict[frozenset[Action], frozenset[Action]] = {}
"""Each set of actions once, however many sessions hold it. There are few: one for each combination of actions."""


MAX_PADDING = 2
"""Characters behind a value in Base64, at most (RFC 4648, section 4)."""


def decode_base64url(text: bytes) -> bytes:
    """Decode Base64url (RFC 7515, section 2). Raises `ValueError`.

    A value has one spelling only. Padding is allowed, since some issuers write it.
    """
    bare = text.rstrip(b"=")
    if bare != text and (len(text) % 4 or len(text) - len(bare) > MAX_PADDING):
        raise ValueError("padding")
    try:
        octets = binascii.a2b_base64(bare.translate(_TO_BASE64) + b"=" * (-len(bare) % 4))
    except binascii.Error:
        raise ValueError("base64") from None
    if binascii.b2a_base64(octets, newline=False).translate(_TO_BASE64URL).rstrip(b"=") != bare:
        raise ValueError("spelling")
    return octets


def user_id(sub: object) -> UserId:
    """Read the claim `sub`: the user's id. It is compared and never changed, so it must look like what it is."""
    if sub is None:
        raise Unauthenticated("the token has no 'sub'")
    if not isinstance(sub, str) or not 1 <= len(sub) <= MAX_USER_CHARS or is_breaking(sub):
        raise Unauthenticated(
            f"the token's 'sub' is no text of 1 to {MAX_USER_CHARS} characters without control characters"
        )
    if not is_visible(sub):
        raise Unauthenticated("the token's 'sub' is not in NFC, or holds invisible or direction-changing characters")
    return UserId(sub)


def display_name(claims: Mapping[str, Any]) -> str | None:
    """Read the claim `name`, without what would hide or turn a part of a page; None if nothing is left."""
    name = optional_text(claims, "name", MAX_NAME_CHARS)
    return None if name is None else visible(name).strip() or None


def optional_text(claims: Mapping[str, Any], claim: str, limit: int) -> str | None:
    """Read a text of at most `limit` characters; None if the claim is missing."""
    value = claims.get(claim)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > limit or is_breaking(value):
        raise Unauthenticated(
            f"the token's '{claim}' is no text of at most {limit} characters without control characters"
        )
    return value


def tier(claims: Mapping[str, Any]) -> str | None:
    """Read the claim `tier`: the name of the rates that hold. A value that can name none is like an unknown name."""
    value = claims.get("tier")
    return value if isinstance(value, str) and len(value) <= MAX_TIER_CHARS else None


def numeric_date(claims: Mapping[str, Any], claim: str) -> float | None:
    """Read a NumericDate (RFC 7519, section 2) in seconds; None if the claim is missing."""
    value = claims.get(claim)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unauthenticated(f"the token's '{claim}' is no number")
    if not math.isfinite(value) or not 0 <= value < YEAR_10000:
        raise Unauthenticated(f"the token's '{claim}' is no time before the year 10000, in seconds since 1970")
    return float(value)


def grant_pattern(text: str) -> str:
    """Read a name of the claim `channels`."""
    if not is_pattern(text):
        raise Unauthenticated("a pattern in the token's 'channels' is malformed")
    return text


def known_actions(names: object) -> frozenset[Action]:
    """Read a list of the claim `channels`. Actions that this version does not know are left out."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Unauthenticated("the token's 'channels' gives a pattern something other than a list of actions")
    actions = frozenset(_ACTIONS[name] for name in names if name in _ACTIONS)
    return _shared.setdefault(actions, actions)
