"""The strength of a secret, estimated: finds those that are known, and most that could be guessed; hardly any random.

No estimate tells chance from a pattern that it does not know. Here it knows the secrets of documentations, repeats,
sequences, rows of keys, words that such secrets are made of, and text that can be spoken.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

MIN_BITS = 128
"""A secret that seems to have less chance is doubted: an estimate may be wrong about it."""

REFUSED_BITS = 64
"""A secret that is made of less, however generous the estimate, can be guessed."""

JUDGED_CHARS = 512
"""From the beginning: enough for chance, few enough to be judged in a moment."""

PUBLISHED = (
    # This repository's: documents, deployments and tests, also of earlier versions.
    "only-for-tests-0123456789abcdef0123456789",
    "a secret of the tests, longer than 32 bytes",
    # RFC 7515 (appendix A.1), RFC 7520 (section 3.5), as their JSON writes them.
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    "hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg",
    # jwt.io, and what tutorials copy from each other.
    "your-256-bit-secret",
    "your-384-bit-secret",
    "your-512-bit-secret",
    "a-string-secret-at-least-256-bits-long",
    "a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long",
    "404E635266556A586E3272357538782F413F4428472B4B6250645367566B5970",
    "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
)
"""Anybody can read these. Compared by letters and digits alone, in any case, wherever they stand in a secret."""

_WORDS = (
    "access admin another auth bits bytes canary change changeme chat correct default demo dev development example for "
    "hello jwt key least letmein local long longer maru master must more only our pass passphrase passwd password "
    "please prod production random secret server sign some strong super test tests than that the this token very "
    "welcome world with your"
)
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop", "azertyuiop", "1234567890")

_PIECE_BITS = 10.0
"""Of a repeat, a sequence, a row or a word, with its place and length: generous."""

_REPEAT = _SEQUENCE = 5
_ROW = 4
"""Characters from which on they count. Less comes by chance, and so much in 1 of 600 secrets of 32 hex digits."""

_SPOKEN_BITS = 2.5
"""Of a letter in words, as in a list of 7,776 words that dice choose from."""

_LETTERS_AT_LEAST, _NUMBERS_AT_MOST = 0.5, 2
_VOWELS_AT_LEAST, _VOWELS_AT_MOST, _CAPITALS_AT_MOST = 0.3, 0.6, 0.28
"""Of text in words: its share of letters, its numbers, the shares of vowels and of capitals among the letters."""

_SLACK = 1.2
"""For the estimate of few characters, which is low by chance."""

_WORD = re.compile("|".join(sorted(_WORDS.split(), key=len, reverse=True)))
_LETTERS = re.compile(r"[A-Z]?[a-z]{3,}|[A-Z]{4,}")
_NUMBERS = re.compile(r"[0-9]+")


def weakness(secret: str) -> str | None:
    """Return why a secret must not be signed with; None if nobody is sure to find it."""
    plain = _plain(secret[:JUDGED_CHARS])
    for known in map(_plain, PUBLISHED):
        if known in plain and entropy(plain.replace(known, "")) < MIN_BITS:
            return "published, so anybody has it"
    text = secret[:JUDGED_CHARS]
    bits = _by_pieces(text, (_sequence, _row, _word), _alphabet_bits(text))
    if bits < REFUSED_BITS:
        return f"can be guessed (about {bits:.0f} bits of {MIN_BITS})"
    return None


def doubt(secret: str) -> str | None:
    """Return why a secret may be too weak to sign with; None if nothing speaks for that."""
    bits = entropy(secret[:JUDGED_CHARS])
    return f"it may be guessed (about {bits:.0f} bits of {MIN_BITS})" if bits < MIN_BITS else None


def entropy(text: str) -> float:
    """Estimate the bits of chance in a text: the lowest of several estimates."""
    if not text:
        return 0.0
    steps = [ord(after) - ord(before) for before, after in pairwise(text)]
    pieces = _by_pieces(text, (_repeat, _sequence, _row, _word), _character_bits(text))
    return min(pieces, _by_frequency(text), _by_frequency(steps))


def _by_pieces(text: str, pieces: Sequence[Callable[[str, int], int]], each: float) -> float:
    """Walk through the text; a known piece costs little, and each other character what a random one would."""
    lower = text.lower() if len(text.lower()) == len(text) else text
    bits, place = 0.0, 0
    while place < len(text):
        length = max(piece(lower, place) for piece in pieces)
        bits += min(_PIECE_BITS, length * each) if length else each
        place += length or 1
    return bits


def _repeat(text: str, place: int) -> int:
    length = 0
    while place + length < len(text) and text.find(text[place : place + length + 1]) < place:
        length += 1
    return length if length >= _REPEAT else 0


def _sequence(text: str, place: int) -> int:
    best = 0
    for step in (-1, 0, 1):
        end = place + 1
        while end < len(text) and ord(text[end]) - ord(text[end - 1]) == step:
            end += 1
        best = max(best, end - place)
    return best if best >= _SEQUENCE else 0


def _row(text: str, place: int) -> int:
    best = 0
    for row in (*_ROWS, *(row[::-1] for row in _ROWS)):
        length = 0
        while place + length < len(text) and text[place : place + length + 1] in row:
            length += 1
        best = max(best, length)
    return best if best > _ROW else 0


def _word(text: str, place: int) -> int:
    found = _WORD.match(text, place)
    return len(found[0]) if found else 0


def _character_bits(text: str) -> float:
    """Return the bits of a character: of words, or of a random one."""
    return _SPOKEN_BITS if _is_spoken(text) else _alphabet_bits(text)


def _alphabet_bits(text: str) -> float:
    """Return the bits of a random character of the smallest usual alphabet that has them all."""
    digits = text.replace("-", "")
    if digits.isdecimal():
        return math.log2(10)
    if re.fullmatch("[0-9a-f]*|[0-9A-F]*", digits):
        return 4.0
    size = sum(count for kind, count in ((r"[a-z]", 26), (r"[A-Z]", 26), (r"[0-9]", 10)) if re.search(kind, text))
    return math.log2(size + (2 if re.fullmatch(r"[\w+/=-]*", text, re.ASCII) else 32))


def _is_spoken(text: str) -> bool:
    """Say whether most of the text is letters in words: as many vowels as in languages, and no heaps of consonants."""
    letters = "".join(_LETTERS.findall(text)).lower()
    vowels = len(re.findall("[aeiouy]", letters))
    return (
        len(letters) >= _LETTERS_AT_LEAST * len(text)
        and len(_NUMBERS.findall(text)) <= _NUMBERS_AT_MOST
        and (text.isupper() or len(re.findall("[A-Z]", text)) <= _CAPITALS_AT_MOST * len(letters))
        and _VOWELS_AT_LEAST <= vowels / len(letters) <= _VOWELS_AT_MOST
        and not re.search("[^aeiouy ]{5}", _WORD.sub(" ", letters))
        and bool(set(letters) - set("abcdef"))
    )


def _by_frequency(items: Sequence[object]) -> float:
    """Shannon's estimate with the correction of Miller and Madow: low for a few characters, or steps, again and
    again."""
    count, found = len(items), Counter(items)
    if not count:
        return 0.0
    shannon = -sum(number / count * math.log2(number / count) for number in found.values())
    return _SLACK * (count + 1) * (shannon + (len(found) - 1) / (2 * count * math.log(2)))


def _plain(text: str) -> str:
    return re.sub(r"[\W_]", "", text).lower()
