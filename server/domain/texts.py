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

_VARIATIONS = re.compile("[\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Characters that choose how the one before them is drawn, if it has several forms; else they show nothing."""

_VARIED = ("CJK ", "MONGOLIAN ", "MYANMAR ", "PHAGS-PA ")
"""How the names of such letters begin (StandardizedVariants.txt, IVD); signs and emoji have forms, too."""

_IGNORED = re.compile("[\u2065\ufff0-\ufff8\U000e0000-\U000e0fff]")
"""Not assigned, and not to be shown (Default_Ignorable_Code_Point)."""

_TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Characters that turn the direction of writing, also of the text around them (Bidi_Control)."""

_KEYCAP = "\u20e3"

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


def turns(text: str) -> bool:
    """Say whether a text turns the direction in which itself, or the text around it, is written."""
    return not text.isascii() and _TURNING.search(text) is not None


def visible(text: str) -> str:
    """Return the text in NFC, without characters that show nothing or turn the direction of writing. Joiners stay where
    they join: in Arabic and Indian scripts, and in emoji."""
    if text.isascii():
        return text
    text = unicodedata.normalize("NFC", text)
    shown = [char for char in text if char in _JOINERS or not _is_invisible(char)]
    around = zip([" ", *shown], shown, [*shown[1:], " "], strict=False)
    shown = [char for before, char, after in around if not _VARIATIONS.match(char) or _varies(before, after)]
    around = zip([" ", *shown], shown, [*shown[1:], " "], strict=False)
    kept = [char for before, char, after in around if char not in _JOINERS or _joins(before, char, after)]
    return unicodedata.normalize("NFC", "".join(kept))  # again: what was left out may have stood between two parts


def is_visible(text: str) -> bool:
    """Say whether `visible` would change nothing."""
    return text.isascii() or visible(text) == text


def _is_invisible(char: str) -> bool:
    if char in _BLANK or unicodedata.category(char) == "Cf":
        return True
    return _IGNORED.match(char) is not None and not _VARIATIONS.match(char)


def _varies(before: str, after: str) -> bool:
    """Say whether a variation selector between these two may change how the first is drawn."""
    if unicodedata.category(before)[0] in "SP" or after == _KEYCAP:
        return True
    return unicodedata.name(before, "").startswith(_VARIED)


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
