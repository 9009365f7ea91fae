"""The development secret: made once, kept for the owner's eyes, refused if it is not that."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from server.process.dev_secret import SecretUnusable, kept_secret

ROOT = Path(__file__).parents[3]
DEADLINE_S = 30


def test_it_is_made_once(tmp_path: Path) -> None:
    """With its folder, for the owner alone, and nothing beside it; the next start finds it."""
    file = tmp_path / "data" / "secret"
    secret = kept_secret(file)
    assert len(bytes.fromhex(secret)) == 32
    assert kept_secret(file) == secret
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]


def test_each_place_has_its_own(tmp_path: Path) -> None:
    """It is random."""
    assert kept_secret(tmp_path / "one") != kept_secret(tmp_path / "two")


def test_starts_at_the_same_time_agree(tmp_path: Path) -> None:
    """Of processes that find no file, one writes it, and the others take its secret."""
    script = "import sys; from pathlib import Path; from server.process.dev_secret import kept_secret; "
    script += "sys.stdin.readline(); print(kept_secret(Path('secret')))"
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for start in starts:
        assert start.stdin is not None
        start.stdin.write("\n")
        start.stdin.flush()
    found = {start.communicate(timeout=DEADLINE_S)[0] for start in starts}
    assert found == {f"{kept_secret(tmp_path / 'secret')}\n"}
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize(("text", "mode"), [("x" * 64, 0o640), ("", 0o600), ("short", 0o600), ("é" * 15, 0o600)])
def test_an_unfit_file_is_refused(tmp_path: Path, text: str, mode: int) -> None:
    """A file that others may read, or that holds no secret; it stays as it was."""
    file = tmp_path / "secret"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(SecretUnusable, match="delete it, and the next start makes a new one") as caught:
        kept_secret(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert file.read_text() == text


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Its target may be another's file."""
    target, link = tmp_path / "target", tmp_path / "secret"
    target.write_text("x" * 64)
    target.chmod(0o600)
    link.symlink_to(target)
    with pytest.raises(SecretUnusable, match="can't keep the development secret"):
        kept_secret(link)


def test_a_place_that_takes_no_file_is_refused(tmp_path: Path) -> None:
    """The operator can set a secret instead."""
    (tmp_path / "file").touch()
    with pytest.raises(SecretUnusable, match="set MARU_JWT_SECRET"):
        kept_secret(tmp_path / "file" / "secret")
