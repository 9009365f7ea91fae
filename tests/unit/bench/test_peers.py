"""Which peers there are, where their programs are looked for, and what is said if one is missing."""

import sys
from itertools import chain
from pathlib import Path

import pytest

from bench import plans
from bench.__main__ import CASES, COMMANDS, DEFAULT_PEERS
from bench.__main__ import PLANS as SAID
from bench.cases import crowd, sends
from bench.machine import cores, version
from bench.peers import brokers, programs, python
from bench.peers.base import Setting
from bench.peers.registry import MEANING, NEEDS_REDIS, START
from bench.processes import NotAvailable
from bench.report.plotting import COLORS
from bench.runs import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Keep rows in memory."""
    return Run(cores(), tmp_path)


def test_every_peer_has_a_meaning_and_a_colour() -> None:
    """So each can be asked for, explained and drawn."""
    assert START.keys() == MEANING.keys() == COLORS.keys()
    assert START.keys() >= NEEDS_REDIS


def test_every_case_and_plan_can_be_asked_for() -> None:
    """With peers that exist."""
    assert COMMANDS.keys() == CASES.keys() == DEFAULT_PEERS.keys()
    assert plans.PLANS.keys() == SAID.keys()
    named = (plans.CORE, plans.OTHERS, plans.FEW, plans.CURVES, plans.LOGS, plans.FORGETFUL, plans.ENTRIES)
    asked = {name for names in DEFAULT_PEERS.values() for name in names.split(",")}
    assert START.keys() >= asked | set(chain.from_iterable((*named, plans.LAYERED)))


def test_a_program_is_found_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any of that name on the path."""
    monkeypatch.setenv("MARU_BENCH_NATS_SERVER", sys.executable)
    assert programs.found("nats-server") == sys.executable
    assert version(("nats-server", "--version")).startswith("Python")


def test_a_program_that_is_missing_is_said_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the reader knows what to set; a variable that is wrong is said too."""
    with pytest.raises(NotAvailable, match="no-such is not installed; MARU_BENCH_NO_SUCH may name it"):
        programs.found("no-such")
    monkeypatch.setenv("MARU_BENCH_NO_SUCH", "/nowhere/no-such")
    with pytest.raises(NotAvailable, match="MARU_BENCH_NO_SUCH names no program: /nowhere/no-such"):
        programs.found("no-such")


def test_an_earlier_maru_is_named_by_a_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It has to be one."""
    monkeypatch.delenv("MARU_BENCH_BEFORE", raising=False)
    with pytest.raises(NotAvailable, match="names no folder"):
        python.earlier()
    monkeypatch.setenv("MARU_BENCH_BEFORE", str(tmp_path))
    with pytest.raises(NotAvailable, match="without a Maru"):
        python.earlier()
    (tmp_path / "server").mkdir()
    assert python.earlier() == tmp_path


@pytest.mark.parametrize(
    ("name", "log"), [("maru-sqlite-before", "sqlite"), ("maru-redis", "redis"), ("maru", "memory")]
)
def test_a_marus_log_is_in_its_name(name: str, log: str) -> None:
    """Also of an earlier one."""
    assert python.log_of(name) == log


@pytest.mark.parametrize("history", [True, False])
def test_centrifugo_keeps_a_history_if_asked(tmp_path: Path, history: bool) -> None:
    """In the engine that the harness has started."""
    setting = Setting(cores(), tmp_path, "secret", redis_url="redis://127.0.0.1:1")
    made = brokers.centrifugo_settings(1_234, setting, history=history)
    assert made["engine"] == {"type": "redis", "redis": {"address": ["redis://127.0.0.1:1"]}}
    assert ("history_size" in str(made["channel"])) == history


def test_a_peer_that_is_missing_leaves_the_others_to_be_measured(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row has the reason, in every round, and no values."""
    monkeypatch.setenv("MARU_BENCH_CENTRIFUGO", "/nowhere/centrifugo")
    work = sends.Work((2, 4), rounds=2, seconds=0.05, warm_s=0.05, alone=8)
    sends.sends(run, ("centrifugo-history", "pyfloor"), work)
    missing = [row for row in run.rows if row.problem]
    assert {(row.peer, row.problem) for row in missing} == {
        ("centrifugo-history", "MARU_BENCH_CENTRIFUGO names no program: /nowhere/centrifugo")
    }
    found = [(row.round, row.params["clients"], row.params["load"]) for row in run.rows if row.peer == "pyfloor"]
    once = [(1, "full"), (2, "full"), (2, "half"), (4, "full"), (4, "half")]
    assert found == [(number, *what) for number in (0, 1) for what in once]


def test_handshakes_are_counted_after_the_first_ones(run: Run) -> None:
    """So many at a time, each up to its place in a channel."""
    crowd.handshakes(run, ("pyfloor",), crowd.Work(clients=100, rounds=1), concurrency=16)
    (row,) = run.rows
    assert (row.problem, dict(row.params)) == ("", {"clients": 100, "at_once": 16})
    assert row.values["cpu_us"] > 0
