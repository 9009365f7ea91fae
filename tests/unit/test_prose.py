"""The server's docstrings and comments are plain English: some words are counted, and may not become more frequent.

CONTRIBUTING.md ("Prose") has the rules. The counts are of words, not of meanings: a sentence that needs one of them may
have it, as long as the whole stays plain.
"""

import io
import re
import tokenize
from collections.abc import Iterator

import pytest

from tests.harness.server import ROOT

AT_MOST = {
    # Where *if* (a condition) or *when* (a moment) is meant, or no place.
    "where": (re.compile(r"\bwhere\b", re.IGNORECASE), 1.2),
    # A relative clause in place of the noun: "who gives up" for "a sender that gives up".
    "who": (re.compile(r"\bwho(ever)?\b", re.IGNORECASE), 0.5),
    # The same for things: "what waits" for "the packets that wait".
    "what": (re.compile(r"\bwhat\b", re.IGNORECASE), 3.0),
    # A pronoun for a noun that stands two lines above.
    "one": (re.compile(r"\bones?\b", re.IGNORECASE), 3.2),
}
"""Occurrences per 1,000 words. Lower a bound when a change makes that possible; never raise it."""

AT_LEAST = {"if": (re.compile(r"\bif\b", re.IGNORECASE), 5.0)}


def prose() -> Iterator[str]:
    """Yield every docstring and comment of the server."""
    for path in sorted((ROOT / "server").rglob("*.py")):
        for token in tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline):
            docstring = token.type == tokenize.STRING and token.string.startswith(('"""', 'r"""'))
            if docstring or token.type == tokenize.COMMENT:
                yield token.string


@pytest.fixture(scope="module")
def text() -> str:
    """All of it."""
    return " ".join(prose())


def frequency(pattern: re.Pattern[str], text: str) -> float:
    """Return how often the pattern occurs per 1,000 words."""
    return 1_000 * len(pattern.findall(text)) / len(text.split())


@pytest.mark.parametrize("word", AT_MOST)
def test_a_word_is_rare(word: str, text: str) -> None:
    """Name the thing instead."""
    pattern, bound = AT_MOST[word]
    assert frequency(pattern, text) <= bound


def test_conditions_are_called_conditions(text: str) -> None:
    """Plain prose about code has many an "if"."""
    pattern, bound = AT_LEAST["if"]
    assert frequency(pattern, text) >= bound
