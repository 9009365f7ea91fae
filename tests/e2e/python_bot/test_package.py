"""The package: installed into an empty environment it runs, and its users' type checker is content."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.harness.server import ROOT

USERS_BOT = """
import asyncio

from maru_bot.bot import MaruBot
from maru_bot.events import Created, Reacted
from maru_bot.people import Entered, Typing
from maru_bot.sync import SyncBot


async def main() -> None:
    async with MaruBot("http://127.0.0.1:8080", "token") as bot:
        async for event in bot.channels(["room:1", "room:2"]):
            if isinstance(event, Created):
                text: str = event.text
                await bot.send(event.channel, text, mentions=[event.author.id], timeout=3.0)
                mark = await bot.mark_read(event.channel, event.position.offset)
                unread: int = mark.unread
                await bot.react(event.channel, event.id, "+1" * unread)
            elif isinstance(event, Reacted):
                counts: list[int] = [each.count for each in event.reactions.values()]
                await bot.publish(event.channel, "counted", counts, log=False)
        async for signal in bot.signals():
            if isinstance(signal, Typing | Entered):
                user: str = signal.user
                print(user, (await bot.presence(signal.channel)).count)


def threaded() -> None:
    with SyncBot("http://127.0.0.1:8080", "token") as bot:
        texts: list[str] = [event.text for event in bot.read("room:1") if isinstance(event, Created)]
        print(texts)


asyncio.run(main())
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Run a program; return its output, which is shown if the program fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(300)
def test_an_empty_environment(tmp_path: Path) -> None:
    """`pip install` brings all that it needs, and `mypy --strict` finds the types, and a wrong use of them."""
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env/bin/python"
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, str(ROOT / "clients/python-bot"), cwd=tmp_path)
    found = run(python, "-c", "import maru_bot.sync; print(maru_bot.__file__)", cwd=tmp_path)
    assert Path(found.strip()).is_relative_to(tmp_path)
    (tmp_path / "bot.py").write_text(USERS_BOT)
    mypy = (sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--python-executable", str(python))
    run(*mypy, "bot.py", cwd=tmp_path)
    (tmp_path / "wrong.py").write_text(USERS_BOT.replace("text: str", "text: int"))
    wrong = subprocess.run((*mypy, "wrong.py"), cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert 'has type "str", variable has type "int"' in wrong.stdout
