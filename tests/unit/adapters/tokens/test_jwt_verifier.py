"""The verifier: what it takes, and a table of what it refuses, without a word of the token."""

import hashlib
import hmac
import json
import traceback
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.adapters.tokens import remembered
from server.adapters.tokens.jwt_verifier import MAX_GRANTS, SHARED_PATTERNS, JwtVerifier
from server.adapters.tokens.key_source import FixedKeys
from server.adapters.tokens.keys import secret_key
from server.domain.errors import TokenExpired, Unauthenticated
from server.domain.identity import Action
from server.domain.limits import MAX_TOKEN_CHARS
from server.domain.outcomes import KeyOrigin
from tests.doubles.json_web_tokens import CLAIMS, LEEWAY, NOW, RAW_HEADER, SECRET, b64, signed, token, verifier
from tests.doubles.metrics import RecordingMetrics


async def test_gives_the_claims_as_an_identity() -> None:
    """Every claim that is known arrives; `exp` in milliseconds."""
    text = token(
        name="Alice 김", jti="t-1", channels={"room:*": ["join", "send"], "ops:1": ["moderate"]}, exp=NOW + 0.5
    )
    identity = await verifier().verify(text)
    assert identity.user == "alice"
    assert identity.name == "Alice 김"
    assert identity.token_id == "t-1"
    assert identity.expires_at == int(NOW * 1_000) + 500
    assert identity.grants == {
        "room:*": frozenset({Action.JOIN, Action.SEND}),
        "ops:1": frozenset({Action.MODERATE}),
    }


async def test_default_grants_hold_without_the_claim_only() -> None:
    """A token without `channels` has the deployment's grants; an empty `channels` grants nothing."""
    defaults = {"lobby": frozenset({Action.JOIN})}
    assert (await verifier(default_grants=defaults).verify(token())).grants == defaults
    assert (await verifier(default_grants=defaults).verify(token(channels={}))).grants == {}
    assert (await verifier().verify(token())).grants == {}


async def test_unknown_actions_are_ignored() -> None:
    """A token for a newer server works; the pattern stands, with what is known."""
    identity = await verifier().verify(token(channels={"room:1": ["join", "levitate"], "room:2": ["levitate"]}))
    assert identity.grants == {"room:1": frozenset({Action.JOIN}), "room:2": frozenset()}


async def test_equal_sets_of_actions_are_one_object() -> None:
    """Ten thousand sessions with the same grants share their sets."""
    first = await verifier().verify(token(channels={"room:*": ["join", "send"]}))
    second = await verifier().verify(token(channels={"dm:*": ["send", "join"]}))
    assert first.grants["room:*"] is second.grants["dm:*"]


async def test_equal_grants_are_one_object() -> None:
    """A crowd of sessions with the same few grants keeps these once; many grants are kept for their own session."""
    few, other = {"room:*": ["join"], "ops": []}, {"room:*": ["join"], "ops": ["send"]}
    many = {f"room:{number}": ["join"] for number in range(SHARED_PATTERNS + 1)}
    grants = [(await verifier().verify(token(sub=name, channels=few))).grants for name in "ab"]
    assert grants[0] is grants[1]
    assert (await verifier().verify(token(channels=other))).grants != grants[0]
    large = [(await verifier().verify(token(sub=name, channels=many))).grants for name in "ab"]
    assert large[0] == large[1]
    assert large[0] is not large[1]


@pytest.mark.parametrize(
    ("offset", "error"),
    [(60, None), (0.1, None), (-4.9, None), (-5.0, TokenExpired), (-5_000, TokenExpired)],
)
async def test_exp_with_leeway(offset: float, error: type[Exception] | None) -> None:
    """A token is good until `exp` plus the leeway, to the millisecond of the injected clock."""
    if error is None:
        assert (await verifier().verify(token(exp=NOW + offset))).expires_at == round((NOW + offset) * 1_000)
    else:
        with pytest.raises(error):
            await verifier().verify(token(exp=NOW + offset))


async def test_nbf_with_leeway() -> None:
    """A token is good from `nbf` minus the leeway."""
    await verifier().verify(token(nbf=NOW + LEEWAY))
    with pytest.raises(Unauthenticated, match="not valid yet"):
        await verifier().verify(token(nbf=NOW + LEEWAY + 0.1))


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  "])
async def test_a_scheme_before_the_token_is_named(scheme: str) -> None:
    """A header's value in place of a token: the client is told which part is too much, and not the token."""
    with pytest.raises(Unauthenticated) as refused:
        await verifier().verify(scheme + token())
    assert str(refused.value) == 'the token is malformed: send it without "Bearer "'


GOOD_AUDIENCES: list[Any] = ["maru", ["other", "maru"]]
BAD_AUDIENCES: list[Any] = [..., None, "", "other", [], ["other"], {"maru": 1}, 7]


@pytest.mark.parametrize("aud", GOOD_AUDIENCES)
async def test_takes_the_configured_audience(aud: Any) -> None:
    """As a text, or one of a list."""
    await verifier(audience="maru").verify(token(aud=aud))


@pytest.mark.parametrize("aud", BAD_AUDIENCES)
async def test_refuses_other_audiences(aud: Any) -> None:
    """Missing and malformed ones included."""
    with pytest.raises(Unauthenticated, match="'aud'"):
        await verifier(audience="maru").verify(token(aud=aud))


async def test_an_audience_needs_the_setting() -> None:
    """A token for a named audience is not for a server that has no name (RFC 7519, section 4.1.3)."""
    with pytest.raises(Unauthenticated, match="'aud'"):
        await verifier().verify(token(aud="maru"))


async def test_the_issuer_is_compared_where_set() -> None:
    """Exactly; without the setting any issuer that has the key will do."""
    await verifier(issuer="https://id.example").verify(token(iss="https://id.example"))
    await verifier().verify(token(iss="anybody"))
    for bad in (..., None, "https://id.example/", ["https://id.example"]):
        with pytest.raises(Unauthenticated, match="'iss'"):
            await verifier(issuer="https://id.example").verify(token(iss=bad))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\u202eecilA", "ecilA"),
        ("Al\u200bice\u2066\u200f", "Alice"),
        ("Zoe\u0308", "Zo\u00eb"),
        (" \u3164 Bob  ", "Bob"),
        (" \u200b", None),
        ("", None),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
        ("\U0001f469\u200d\U0001f4bb", "\U0001f469\u200d\U0001f4bb"),
    ],
)
async def test_a_name_is_made_visible(name: str, shown: str | None) -> None:
    """People may type anything into a profile, so nobody is refused for it: what hides or turns text is left out."""
    assert (await verifier().verify(token(name=name))).name == shown


@pytest.mark.parametrize("sub", ["\u0645\u06cc\u200c\u062e", "zo\u00eb", "a b", "\U0001f469\u200d\U0001f4bb"])
async def test_a_user_id_is_never_changed(sub: str) -> None:
    """Clients compare it: it is taken as it is, or refused."""
    assert (await verifier().verify(token(sub=sub))).user == sub


def other_algorithm(name: str) -> str:
    """Signed with the right secret by an algorithm that is not allowed."""
    return jwt.encode(CLAIMS, SECRET * 2, name)


def tampered() -> str:
    """Other claims under a signature that was good."""
    head, _, signature = token().split(".")
    return f"{head}.{b64(json.dumps(CLAIMS | {'sub': 'mallory'}).encode())}.{signature}"


@pytest.mark.parametrize(
    ("iat", "issued_at"), [(NOW, int(NOW)), (NOW + 0.999, int(NOW)), (0, 0), (NOW + 1e6, int(NOW) + 10**6), (..., None)]
)
async def test_iat_in_whole_seconds(iat: Any, issued_at: int | None) -> None:
    """Rounded down; a clock of the issuer's that is ahead is no fault; None if it is missing."""
    assert (await verifier().verify(token(iat=iat))).issued_at == issued_at


async def test_a_bounded_lifetime() -> None:
    """From `iat` to `exp`, to the millisecond; without `iat` nobody can say how long a token lives."""
    bounded = verifier(max_lifetime_s=60.5)
    await bounded.verify(token(iat=NOW - 0.5))
    with pytest.raises(Unauthenticated, match=r"60\.5 s from 'iat' to 'exp'"):
        await bounded.verify(token(iat=NOW - 0.75))
    for missing in (..., None):
        with pytest.raises(Unauthenticated, match="no 'iat'"):
            await bounded.verify(token(iat=missing))
    await verifier(max_lifetime_s=0).verify(token(iat=0))


BAD_TOKENS: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "no dots": lambda: "token",
    "two parts": lambda: token().rpartition(".")[0],
    "four parts": lambda: token() + ".x",
    "no signature": lambda: token().rpartition(".")[0] + ".",
    "not base64": lambda: "~~~.~~~.~~~",
    "not ASCII": lambda: token() + "é",
    "lone surrogate": lambda: token() + "\ud800",
    "over the bound": lambda: token(pad="x" * MAX_TOKEN_CHARS),
    "tampered": tampered,
    "another secret": lambda: signed(RAW_HEADER, json.dumps(CLAIMS).encode(), SECRET + "!"),
    "alg none": lambda: jwt.encode(CLAIMS, "", "none"),
    "alg NONE, signed": lambda: token({"alg": "NONE"}),
    "alg missing": lambda: signed(b'{"typ":"JWT"}', json.dumps(CLAIMS).encode()),
    "alg null": lambda: token({"alg": None}),
    "alg a list": lambda: token({"alg": ["HS256"]}),
    "alg HS384": lambda: other_algorithm("HS384"),
    "alg HS512": lambda: other_algorithm("HS512"),
    "kid a number": lambda: token({"kid": 7}),
    "crit": lambda: token({"crit": ["exp"]}),
    "crit empty": lambda: token({"crit": []}),
    "crit b64": lambda: token({"crit": ["b64"], "b64": True}),
    "b64 false": lambda: token({"crit": ["b64"], "b64": False}),
    "header a list": lambda: signed(b"[]", json.dumps(CLAIMS).encode()),
    "header no JSON": lambda: signed(b"{", json.dumps(CLAIMS).encode()),
    "header deep": lambda: signed(b"[" * 5_000, json.dumps(CLAIMS).encode()),
    "claims a list": lambda: signed(RAW_HEADER, b"[]"),
    "claims no JSON": lambda: signed(RAW_HEADER, b"{"),
    "claims bad UTF-8": lambda: signed(RAW_HEADER, b'{"sub":"\xff"}'),
    "claims deep": lambda: signed(RAW_HEADER, b"[" * 5_000),
    "claims NaN": lambda: signed(RAW_HEADER, b'{"sub":"alice","exp":NaN}'),
    "exp missing": lambda: token(exp=...),
    "exp null": lambda: token(exp=None),
    "exp text": lambda: token(exp=str(NOW + 60)),
    "exp true": lambda: token(exp=True),
    "exp negative": lambda: token(exp=-1),
    "exp year 10000": lambda: token(exp=253_402_300_800),
    "exp in milliseconds": lambda: token(exp=NOW * 1_000),
    "exp infinite": lambda: signed(RAW_HEADER, b'{"sub":"alice","exp":1e999}'),
    "exp 400 digits": lambda: token(exp=10**400),
    "iat text": lambda: token(iat="now"),
    "iat negative": lambda: token(iat=-1),
    "iat in milliseconds": lambda: token(iat=NOW * 1_000),
    "nbf text": lambda: token(nbf="now"),
    "nbf infinite": lambda: signed(RAW_HEADER, b'{"sub":"alice","exp":1800000060,"nbf":1e999}'),
    "sub missing": lambda: token(sub=...),
    "sub null": lambda: token(sub=None),
    "sub a number": lambda: token(sub=7),
    "sub empty": lambda: token(sub=""),
    "sub long": lambda: token(sub="a" * 129),
    "sub with a line break": lambda: token(sub="alice\nbob"),
    "sub with NUL": lambda: token(sub="alice\0"),
    "sub with U+2028": lambda: token(sub="alice\u2028"),
    "sub with an override": lambda: token(sub="\u202eecila"),
    "sub with a zero width space": lambda: token(sub="ali\u200bce"),
    "sub with a joiner in Latin": lambda: token(sub="ali\u200dce"),
    "sub with a filler": lambda: token(sub="\u3164"),
    "sub not in NFC": lambda: token(sub="zoe\u0308"),
    "sub a lone surrogate": lambda: token(sub="\ud800"),
    "name a number": lambda: token(name=7),
    "name long": lambda: token(name="a" * 129),
    "name with ESC": lambda: token(name="\x1b[2J"),
    "jti a number": lambda: token(jti=7),
    "jti long": lambda: token(jti="a" * 129),
    "channels a list": lambda: token(channels=["room:*"]),
    "channels text": lambda: token(channels="room:*"),
    "pattern upper case": lambda: token(channels={"Room:*": ["join"]}),
    "pattern with a star inside": lambda: token(channels={"ro*m": ["join"]}),
    "pattern empty": lambda: token(channels={"": ["join"]}),
    "actions text": lambda: token(channels={"room:*": "join"}),
    "actions null": lambda: token(channels={"room:*": None}),
    "actions of numbers": lambda: token(channels={"room:*": [1]}),
    "actions of lists": lambda: token(channels={"room:*": [["join"]]}),
    "too many patterns": lambda: token(channels={f"r{number}": [] for number in range(MAX_GRANTS + 1)}),
}


@pytest.mark.parametrize("name", BAD_TOKENS)
async def test_refuses(name: str) -> None:
    """Each bad token is `unauthenticated`, and neither the error nor anything chained to it holds a part of it."""
    text = BAD_TOKENS[name]()
    with pytest.raises(Unauthenticated) as caught:
        await verifier().verify(text)
    assert not isinstance(caught.value, TokenExpired)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    told = "".join(traceback.format_exception(caught.value))
    assert not [part for part in text.split(".") if len(part) > 8 and part[:8] in told]
    assert "mallory" not in told


async def test_the_expired_error_is_not_chained_either() -> None:
    """`token_expired` comes bare too."""
    with pytest.raises(TokenExpired) as caught:
        await verifier().verify(token(exp=1))
    assert caught.value.__context__ is None


async def test_a_kid_chooses_no_key() -> None:
    """There is one key; a `kid`, `jku` or `jwk` of the token's own does not change it."""
    header = {"kid": "../../dev/null", "jku": "http://127.0.0.1:9/keys", "jwk": {"kty": "oct", "k": ""}}
    assert (await verifier().verify(token(header))).user == "alice"


async def test_a_token_that_comes_again_is_who_it_was() -> None:
    """The second time the signature is not looked at again: the very same identity comes back."""
    text, checks = token(), verifier()
    assert await checks.verify(text) is await checks.verify(text)


@pytest.mark.parametrize(
    ("later", "error"), [(0.0, None), (64.9, None), (65.0, TokenExpired), (-70.1, Unauthenticated)]
)
async def test_a_remembered_token_ends_in_time(later: float, error: type[Exception] | None) -> None:
    """What is remembered of a token does not outlive its `exp`, nor come before its `nbf`, leeway included."""
    times = [NOW, NOW + later]
    checks = JwtVerifier(FixedKeys(secret_key(SECRET)), leeway_s=LEEWAY, now_s=lambda: times.pop(0))
    text = token(nbf=NOW - 65)
    await checks.verify(text)
    if error is None:
        assert (await checks.verify(text)).user == "alice"
    else:
        with pytest.raises(error):
            await checks.verify(text)


async def test_a_refused_token_is_not_remembered() -> None:
    """A forged one is refused each time, and so is a good one with another signature after the good one came."""
    checks, good = verifier(), token()
    await checks.verify(good)
    forged = signed(RAW_HEADER, json.dumps(CLAIMS).encode(), "another secret, which is 32 bytes or more")
    for text in (forged, forged, good[:-4] + "AAAA", good.swapcase()):
        with pytest.raises(Unauthenticated):
            await checks.verify(text)


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In tokens and in their characters together; the oldest is forgotten first, and verified anew when it comes."""
    first = await (checks := verifier()).verify(token())
    monkeypatch.setattr(remembered, "MAX_CACHED_TOKENS", 2)
    await checks.verify(token(jti="2"))
    assert await checks.verify(token()) is first
    await checks.verify(token(jti="3"))
    again = await checks.verify(token())
    assert again == first
    assert again is not first
    monkeypatch.setattr(remembered, "MAX_CACHED_CHARS", 1)
    await checks.verify(token(jti="4"))
    assert await checks.verify(token()) is not await checks.verify(token())


PREVIOUS = "the secret before, longer than 32 bytes too"


async def test_a_previous_secret() -> None:
    """Its tokens are good until it is over, also those that are remembered; each use is counted by the key."""
    times, metrics = [NOW], RecordingMetrics()
    keys = FixedKeys(secret_key(SECRET), secret_key(PREVIOUS, KeyOrigin.PREVIOUS, until_s=NOW + 30))
    checks = JwtVerifier(keys, now_s=lambda: times[-1], metrics=metrics)
    old = signed(RAW_HEADER, json.dumps(CLAIMS).encode(), PREVIOUS)
    for _ in range(2):
        assert (await checks.verify(old)).user == "alice"
    assert (await checks.verify(token())).user == "alice"
    with pytest.raises(Unauthenticated, match="signature does not match"):
        await checks.verify(signed(RAW_HEADER, json.dumps(CLAIMS).encode(), "x" * 32))
    times.append(NOW + 30)
    for _ in range(2):
        with pytest.raises(Unauthenticated, match="signature does not match"):
            await checks.verify(old)
    assert (await checks.verify(token())).user == "alice"
    counted = [KeyOrigin.PREVIOUS, KeyOrigin.PREVIOUS, KeyOrigin.CURRENT, KeyOrigin.CURRENT]
    assert metrics.of("token_verified") == [(origin,) for origin in counted]


GOOD = token(jti="t-1").encode()
MUTATIONS = st.tuples(st.integers(0, len(GOOD)), st.integers(0, 2), st.binary(max_size=2))


@given(st.lists(MUTATIONS, max_size=3))
async def test_takes_what_pyjwt_takes(mutations: list[tuple[int, int, bytes]]) -> None:
    """However a token is mangled, it is taken where PyJWT's own reader takes it, and else refused."""
    text = GOOD
    for at, cut, filling in mutations:
        text = text[:at] + filling + text[at + cut :]
    try:
        taken = json.loads(jwt.PyJWS().decode(text, SECRET, ["HS256"])) == CLAIMS | {"jti": "t-1"}
    except jwt.PyJWTError:
        taken = False
    try:
        assert (await verifier().verify(text.decode("latin-1"))).token_id == "t-1"
    except Unauthenticated:
        assert not taken
    else:
        assert taken


@pytest.mark.parametrize("padding", ["", "=", "==", "===", "=a"])
async def test_padding_as_pyjwt_has_it(padding: str) -> None:
    """Padding that some issuers write is taken where it is right, as in PyJWT; it is signed like all the rest."""
    head, body = RAW_HEADER, json.dumps(CLAIMS).encode()
    signing_input = f"{b64(head)}{padding}.{b64(body)}"
    text = f"{signing_input}.{b64(hmac.digest(SECRET.encode(), signing_input.encode(), hashlib.sha256))}"
    try:
        jwt.PyJWS().decode(text, SECRET, ["HS256"])
    except jwt.PyJWTError:
        with pytest.raises(Unauthenticated):
            await verifier().verify(text)
    else:
        await verifier().verify(text)
