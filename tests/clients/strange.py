"""What no sane client sends: strategies of hypothesis for handshakes, frames and packets, most of them nearly right."""

import json
from collections.abc import Sequence

from hypothesis import strategies as st

from loadtest.frames import Opcode, header
from server.wire.words import Command, ServerEvent
from tests.clients.frames import masked, unmasked
from tests.clients.raw import PATH, connect, handshake
from tests.harness.tokens import token

GOOD_TOKEN = token("stranger")

# Packets

TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(("", "room:a", "room:b", "ROOM", "x" * 129, "\x00", "\u202e", "\U0001f600", "\ufeff", "__proto__")),
)

NUMBERS = st.sampled_from((0, -0, 1, -1, 15, 101, 2**31, 2**53 - 1, 2**53, 2**63, 2**64, -(2**63) - 1, 0.5, 1e308))

FIELDS = st.sampled_from(
    ("channel", "text", "data", "key", "since", "epoch", "offset", "history", "limit", "before", "after", "id", "token")
)

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.one_of(FIELDS, TEXTS), inner, max_size=4)),
    max_leaves=12,
)

RAW_JSON = st.sampled_from(
    ("NaN", "Infinity", "1e999", "-0", "007", "9" * 400, '"\\ud800"', '"\\u0000"', "[" * 200, "{" * 200, "[[]]", "'a'")
)
"""JSON that `json.dumps` does not write."""

NAMES = st.one_of(
    st.sampled_from([*Command, *ServerEvent, "connect", "disconnect", "message", "__class__", "run", ""]), TEXTS
)

AUTHS = st.one_of(
    JSON,
    st.fixed_dictionaries({"token": st.one_of(JSON, st.just(GOOD_TOKEN))}, optional={"resume": JSON, "x": JSON}),
)


@st.composite
def events(draw: st.DrawFn) -> str:
    """A command, mostly in the right form."""
    payloads = [draw(NAMES), *draw(st.lists(JSON, min_size=1, max_size=draw(st.sampled_from((1, 1, 1, 3)))))]
    written = json.dumps(payloads, ensure_ascii=draw(st.booleans()))
    if draw(st.integers(0, 7)) == 0:
        written = written[:-1] + "," + draw(RAW_JSON) + "]"
    ack = draw(st.sampled_from(("", "1", "0", "999999999999999", "1" * 16, "-1", "٣")))
    namespace = draw(st.sampled_from(("/chat,", "/chat,", "/chat,", "/chat", "", "/,", "/other,", "/" * 130 + ",")))
    return f"42{namespace}{ack}{written}"


@st.composite
def packets(draw: st.DrawFn) -> str:
    """An Engine.IO packet: a command, a CONNECT, something else, or one of them with a part lost or doubled."""
    packet = draw(
        st.one_of(
            events(),
            events(),
            st.builds(connect, AUTHS, st.sampled_from(("/chat", "/", "/other"))),
            st.sampled_from(
                ("3", "2", "1", "41/chat,", "41", "40", "40/chat,", "43/chat,1[]", "44", "4", "b4", "6", "")
            ),
            st.text(max_size=20),
        )
    )
    if draw(st.integers(0, 5)) == 0 and packet:
        at = draw(st.integers(0, len(packet) - 1))
        packet = draw(st.sampled_from((packet[:at], packet[at:], packet[:at] + packet[at + 1 :], packet[:at] + packet)))
    return packet


# Frames

PAYLOADS = st.one_of(
    packets().map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=140),
    st.sampled_from((b"", b"3", b"\x03\xe8", b"\xff", b"\xe2\x82", b"x" * 125, b"x" * 126, b"4" * 300)),
)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A frame: mostly a whole text; else any opcode, bits, mask and length, also those that are not true."""
    payload = draw(PAYLOADS)
    if draw(st.integers(0, 2)):
        return masked(payload)
    opcode = draw(st.sampled_from([*Opcode, *Opcode, 3, 7, 0xB, 0xF]))
    final, reserved = draw(st.booleans()), draw(st.sampled_from((0, 0, 0, 0, 0, 1, 2, 4, 7)))
    kind = draw(st.integers(0, 11))
    if kind == 0:
        return unmasked(payload, opcode, final=final, reserved=reserved)
    if kind == 1:
        size = draw(st.sampled_from((1, 126, 65_535, 65_536, 65_537, 2**31, 2**63 - 1, 2**63, 2**64 - 1)))
        return header(size, opcode, final=final) + payload
    if kind == 2:
        return masked(payload, opcode)[: draw(st.integers(0, 14))]
    return masked(payload, opcode, final=final, reserved=reserved, mask=draw(st.binary(min_size=4, max_size=4)))


def cuts(size: int) -> st.SearchStrategy[list[int]]:
    """Places at which a stream is cut into writes."""
    return st.lists(st.integers(0, size), max_size=4)


@st.composite
def streams(draw: st.DrawFn, parts: st.SearchStrategy[bytes]) -> tuple[bytes, Sequence[int]]:
    """Some parts behind each other, perhaps with a byte changed, and the places where they are cut."""
    stream = b"".join(draw(st.lists(parts, min_size=1, max_size=6)))
    if stream and draw(st.integers(0, 7)) == 0:
        at = draw(st.integers(0, len(stream) - 1))
        stream = stream[:at] + bytes((draw(st.integers(0, 255)),)) + stream[at + 1 :]
    return stream, draw(cuts(len(stream)))


# Handshakes

HEADERS = st.dictionaries(
    st.sampled_from(
        (
            "Host",
            "Upgrade",
            "Connection",
            "Sec-WebSocket-Version",
            "Sec-WebSocket-Key",
            "Origin",
            "Content-Length",
            "Transfer-Encoding",
            "Expect",
            "Cookie",
            "X-Forwarded-For",
            "Forwarded",
            "User-Agent",
            "Sec-WebSocket-Extensions",
        )
    ),
    st.one_of(
        st.sampled_from(
            ("", "websocket", "Upgrade", "13", "1", "0", "-1", "chunked", "100-continue", "null", "x" * 9_000)
        ),
        st.sampled_from(("for=[::1]:1", "1.2.3.4, 5.6.7.8", "::", "unknown", "http://[", "okhttp/4", "a=b; c", "é")),
        st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=255), max_size=20),
    ),
    max_size=4,
)

PATHS = st.one_of(
    st.just(PATH),
    st.sampled_from(
        (
            "/",
            "*",
            "/socket.io/",
            "/socket.io/?EIO=3&transport=websocket",
            "/socket.io/?EIO=4&transport=polling",
            PATH + "&token=x",
            PATH + "&x=eyJ.eyJ.x",
            PATH + "&" + "x" * 1_100,
            PATH + "&%ff=%00",
            "/session",
            "/demo/../x",
            "/js/src/../x",
            "//",
            "http://[/x",
            "/%",
        )
    ),
    st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), max_size=30).map("/".__add__),
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A handshake with some headers changed, or with a part lost or doubled, and bytes behind it."""
    method = draw(st.sampled_from(("GET", "GET", "GET", "POST", "OPTIONS", "HEAD", "get", "", "PRI")))
    written = handshake(draw(PATHS), {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}, method)
    lines = "".join(f"{name}: {value}\r\n" for name, value in draw(HEADERS).items())
    at = written.index(b"\r\n") + 2
    written = written[:at] + lines.encode("latin-1") + written[at:]
    if draw(st.integers(0, 3)) == 0:
        begin = draw(st.integers(0, len(written)))
        end = draw(st.integers(begin, min(len(written), begin + 40)))
        put = draw(st.one_of(st.binary(max_size=6), st.sampled_from((b"\r\n", b"\n", b"\r\n\r\n", b"\0", b": "))))
        written = written[:begin] + put + written[end:]
    return written + draw(st.one_of(st.just(b""), frames(), st.just(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")))
