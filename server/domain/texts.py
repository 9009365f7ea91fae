"""What a text may hold that people are shown: nothing that hides, reorders or breaks what stands around it."""

import re
import unicodedata

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Of a message's text, without tabs and the characters that end a line."""

_LINE_END = re.compile(r"\r\n?")

_BREAKING = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Categories of control characters, lone surrogates, and line breaks."""

_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Characters that show nothing, in categories whose others do."""

_ZERO_WIDTH_JOINER = "\u200d"
_JOINERS = frozenset({"\u200c", _ZERO_WIDTH_JOINER})
_VIRAMA = 9
"""The combining class of the signs that a joiner follows in the scripts of India."""


def has_controls(text: str) -> bool:
    """Say whether a text has control characters other than tabs and line ends."""
    # Most texts are printable, which is found out many times faster.
    return not text.isprintable() and _CONTROLS.search(text) is not None


def with_line_feeds(text: str) -> str:
    """Return the text with line feeds for its line ends: Windows ends a line by two characters."""
    return _LINE_END.sub("\n", text)


def is_breaking(text: str) -> bool:
    """Say whether a page or a log would act upon characters of the text: controls, line breaks, lone surrogates."""
    return not text.isprintable() and any(unicodedata.category(char) in _BREAKING for char in text)


def visible(text: str) -> str:
    """Return the text in NFC, without characters that show nothing or turn the direction of writing. Joiners stay where
    they join: in Arabic and Indian scripts, and in emoji."""
    if text.isascii():
        return text
    text = unicodedata.normalize("NFC", text)
    shown = [char for char in text if char in _JOINERS or not _is_invisible(char)]
    around = zip([" ", *shown], shown, [*shown[1:], " "], strict=False)
    kept = [char for before, char, after in around if char not in _JOINERS or _joins(before, char, after)]
    return unicodedata.normalize("NFC", "".join(kept))  # again: what was left out may have stood between two parts


def is_visible(text: str) -> bool:
    """Say whether `visible` would change nothing."""
    return text.isascii() or visible(text) == text


def _is_invisible(char: str) -> bool:
    return char in _BLANK or unicodedata.category(char) == "Cf"


def _joins(before: str, joiner: str, after: str) -> bool:
    """Say whether a joiner between these two changes how they are drawn."""
    if _VIRAMA in (unicodedata.combining(before), unicodedata.combining(after)):
        return True
    if unicodedata.bidirectional(before) == unicodedata.bidirectional(after) == "AL":
        return True
    return joiner == _ZERO_WIDTH_JOINER and _is_symbol(before) and unicodedata.category(after) == "So"


def _is_symbol(char: str) -> bool:
    """Say whether a part of an emoji may end in this character: a sign, its skin tone, or how it is presented."""
    return char == "\ufe0f" or unicodedata.category(char) in {"So", "Sk"}
