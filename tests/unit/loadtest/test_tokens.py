"""Tokens come by the environment."""

from pathlib import Path

import jwt
import pytest

from loadtest.tokens import Listed, NoTokens, tokens_from

SECRET = "a-secret-of-thirty-two-characters"


def test_a_minted_token_grants_the_channels_and_no_more() -> None:
    """The same user for the same number."""
    claims = jwt.decode(tokens_from({"MARU_JWT_SECRET": SECRET}, "room:x-*").of(7), SECRET, algorithms=["HS256"])
    assert claims["sub"] == "load-7"
    assert claims["channels"] == {"room:x-*": ["join", "send"]}


def test_listed_tokens_are_shared_where_they_are_few(tmp_path: Path) -> None:
    """One a line; a file goes before a secret."""
    file = tmp_path / "tokens"
    file.write_text("one\ntwo\n")
    tokens = tokens_from({"LOADTEST_TOKENS": str(file), "MARU_JWT_SECRET": SECRET}, "room:*")
    assert isinstance(tokens, Listed)
    assert [tokens.of(number) for number in range(3)] == ["one", "two", "one"]


def test_without_tokens_it_says_what_to_set(tmp_path: Path) -> None:
    """Nothing set, no such file, an empty one, one that is no text."""
    empty, binary = tmp_path / "empty", tmp_path / "binary"
    empty.touch()
    binary.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(NoTokens, match="MARU_JWT_SECRET"):
        tokens_from({}, "room:*")
    for path, problem in ((tmp_path / "none", "can't be read"), (empty, "no token"), (binary, "can't be read")):
        with pytest.raises(NoTokens, match=problem):
            tokens_from({"LOADTEST_TOKENS": str(path)}, "room:*")
