"""What texts may hold: controls, line ends, and what shows nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.texts import has_controls, is_breaking, is_visible, visible, with_line_feeds

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"

KEPT = [
    "Alice",
    "Zo\u00eb \u0141",
    "\ud55c \uae40",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian: ZWNJ between two letters that would join
    "\u0915\u094d\u200d\u0937",  # Devanagari: ZWJ behind a virama
    "\u09b0\u200d\u09cd\u09af",  # Bengali: ZWJ before it
    "\u0dc1\u0dca\u200d\u0dbb\u0dd3",  # Sinhala
    "\U0001f469\u200d\U0001f4bb",  # emoji: a woman with a computer
    "\U0001f469\U0001f3fd\u200d\U0001f680",  # with a skin tone
    "\u2764\ufe0f\u200d\U0001f525",  # with a presentation
    "a\u00a0b c",
    "\u845b\U000e0100\u57ce",  # Japanese: a form of a family's name
    "\u1820\u180b\u1821",  # Mongolian
    "1\ufe0f\u20e3",  # a keycap
    "\u203c\ufe0f",
]
CHANGED = [
    *((f"ab{char}c", "abc") for char in BIDI),
    *(
        (f"{char}abc{char}", "abc")
        for char in ("\u00ad", "\u200b", "\u2060", "\ufeff", "\u180e", "\U000e0041", "\u3164")
    ),
    *(
        (f"ab{char}c", "abc")
        for char in ("\u180b", "\ufe00", "\ufe0f", "\U000e0100", "\U000e01ef", "\U000e0fff", "\ufff0")
    ),
    ("\u2764\ufe0f\ufe0f", "\u2764\ufe0f"),
    ("\ufe0f", ""),
    ("Zoe\u0308", "Zo\u00eb"),
    ("\u212b", "\u00c5"),
    ("Zoe\u200b\u0308", "Zo\u00eb"),
    ("Al\u200dice", "Alice"),
    ("Al\u200cice", "Alice"),
    ("\u200d\u200c", ""),
    ("\u0430\u200d\u0441", "\u0430\u0441"),
    ("\u0645\u200c", "\u0645"),
    ("\u4e2d\u200d\u6587", "\u4e2d\u6587"),
    ("\u0645\u200c\u200c\u062e", "\u0645\u062e"),
    ("\U0001f469\u200c\U0001f4bb", "\U0001f469\U0001f4bb"),
    ("\U0001f469\u200dx", "\U0001f469x"),
]


@pytest.mark.parametrize("text", KEPT)
def test_what_is_shown_is_kept(text: str) -> None:
    """Also joiners where they change what is drawn."""
    assert visible(text) == text
    assert is_visible(text)


@pytest.mark.parametrize(("text", "kept"), CHANGED)
def test_what_shows_nothing_is_left_out(text: str, kept: str) -> None:
    """Two texts that look the same become the same."""
    assert visible(text) == kept
    assert not is_visible(text)


@given(st.text())
def test_what_was_made_visible_stays_so(text: str) -> None:
    """Once more changes nothing: a name that passes one server passes the next."""
    assert is_visible(visible(text))


@pytest.mark.parametrize("text", ["", "a", "a\tb\nc\r\n", "\u202e\u2028", "\xa0"])
def test_tabs_and_line_ends_are_no_controls(text: str) -> None:
    """Nor is what only a name may not have."""
    assert not has_controls(text)


@pytest.mark.parametrize("char", ["\0", "\b", "\v", "\f", "\x0e", "\x1b", "\x1f", "\x7f", "\x80", "\x85", "\x9f"])
def test_controls(char: str) -> None:
    """Those of ASCII and of Latin 1."""
    assert has_controls(f"a{char}\n")
    assert is_breaking(f"a{char}")


@pytest.mark.parametrize("char", ["\t", "\n", "\r", "\u2028", "\u2029", "\ud800"])
def test_a_line_break_breaks_a_name(char: str) -> None:
    """And so does half a character."""
    assert is_breaking(char)
    assert not is_breaking("Zo\u00eb \u202e")


@given(st.text(alphabet="a\r\n"))
def test_lines_end_by_line_feeds(text: str) -> None:
    """As Python reads a text file."""
    assert with_line_feeds(text) == "\n".join(text.replace("\r\n", "\n").split("\r"))
