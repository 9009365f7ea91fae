"""The swarm's command line, its parts, and its verdict."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import swarm
from loadtest.judge import Tally
from loadtest.plan import EXAMPLES, PROBLEMS, Counts
from loadtest.swarm import NotPossible, processes
from loadtest.target import CLIENTS_PER_SOURCE, Target
from loadtest.verdict import Report

HERE = "http://127.0.0.1:8080"


class TestTarget:
    """Where the server is, and where we come from."""

    @pytest.mark.parametrize(
        ("url", "target"),
        [
            (HERE, Target("127.0.0.1", 8080, tls=False, header="127.0.0.1:8080")),
            ("https://chat.example.com/", Target("chat.example.com", 443, tls=True, header="chat.example.com")),
            ("ws://[::1]:81", Target("::1", 81, tls=False, header="[::1]:81")),
        ],
    )
    def test_a_url_is_a_host_and_a_port(self, url: str, target: Target) -> None:
        """The scheme gives the port, and whether there is TLS."""
        assert Target.parse(url) == target

    @pytest.mark.parametrize("url", ["", "127.0.0.1:8080", "ftp://host", "http://host/path", "http://host?token=x"])
    def test_what_is_no_servers_url(self, url: str) -> None:
        """It says what to write."""
        with pytest.raises(ValueError, match=r"http://HOST|leave out"):
            Target.parse(url)

    @pytest.mark.parametrize(
        ("url", "block", "source"),
        [
            (HERE, 0, None),
            (HERE, 1, "127.0.0.2"),
            ("http://localhost:1", 2, "127.0.0.3"),
            (HERE, 255, "127.0.1.0"),
            ("http://10.0.0.1", 1, None),
            ("http://[::1]", 1, None),
            ("http://host", 1, None),
            ("https://127.0.0.1", 1, None),
        ],
    )
    def test_loopback_has_more_ports_by_more_addresses(self, url: str, block: int, source: str | None) -> None:
        """Only there is every address ours."""
        assert Target.parse(url).source(block * CLIENTS_PER_SOURCE) == source


class TestOptions:
    """What can be asked for."""

    @pytest.mark.parametrize(
        "arguments",
        [[], ["--clients", "0"], ["--rate", "-1"], ["--joins", "11"], ["--bytes", "4001"], ["--seconds", "0"]],
    )
    def test_what_makes_no_sense_is_refused(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        """Exit code 2, and a line that names the option."""
        with pytest.raises(SystemExit) as left:
            swarm.parse([*(["--url", HERE] if arguments else []), *arguments])
        assert left.value.code == 2
        assert (arguments or ["--url"])[0] in capsys.readouterr().err

    @given(st.integers(1, 50), st.integers(1, 20), st.integers(1, 7))
    def test_the_parts_make_the_whole(self, clients: int, channels: int, count: int) -> None:
        """Every client is in one process, every channel has as many members as another, or one more."""
        options = swarm.parse(["--url", HERE, "--clients", str(clients), "--channels", str(channels), "--rate", "7"])
        parts = swarm.plans(options, min(count, clients))
        numbers = [part.first + each for part in parts for each in range(part.clients)]
        members = Counter(name for number in numbers for name in parts[0].names(number))
        assert numbers == list(range(clients))
        assert sum(part.rate for part in parts) == pytest.approx(7)
        assert max(members.values()) - min(members.values()) <= 1
        assert len({part.run for part in parts}) == 1

    def test_processes_are_as_many_as_files_allow(self) -> None:
        """Else it says what to raise."""
        assert processes(10_000, 0, 1_064) >= 10
        assert processes(10_000, 10, 1_064) == 10
        assert processes(1, 5, 1_064) == 1
        with pytest.raises(NotPossible, match="ulimit"):
            processes(10_000, 9, 1_064)
        with pytest.raises(NotPossible, match="ulimit"):
            processes(1, 0, 64)

    @pytest.mark.parametrize(("url", "problem"), [(HERE, "MARU_JWT_SECRET"), ("http://", "no URL")])
    def test_a_run_that_can_not_begin_ends_with_2(
        self, url: str, problem: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """One line says what to do."""
        monkeypatch.delenv("MARU_JWT_SECRET", raising=False)
        monkeypatch.delenv("LOADTEST_TOKENS", raising=False)
        assert swarm.main(["--url", url]) == 2
        assert problem in capsys.readouterr().err


def counts(**values: int) -> Counts:
    """Counts of a run in which all went well, but for these."""
    made = Counts(arrived=10, sent=5, acked=5, delivered=50)
    made.tally = Tally(**{name: value for name, value in values.items() if name in Tally.__slots__})
    for name in values.keys() - set(Tally.__slots__):
        setattr(made, name, values[name])
    return made


class TestVerdict:
    """PASS or FAIL."""

    def test_a_clean_run_passes(self) -> None:
        """The line says all that matters; reconnects and closes that were got over are no fault."""
        good = counts(reconnects=3, silent=1)
        good.to_reader.add(0.002)
        good.note("closed with 1012")
        report = Report(10, good)
        assert report.reasons() == []
        line = report.line().split()
        assert line[0] == "PASS"
        assert [each.partition("=")[0] for each in line[1:]] == [
            "clients", "sent", "acked", "delivered", "lost", "duplicated", "disordered", "p50", "p99", "reconnects",
        ]  # fmt: skip
        assert "lost=0 duplicated=0 disordered=0 p50=2.0ms" in report.line()
        assert json.loads(json.dumps(report.to_json()))["verdict"] == "PASS"

    @pytest.mark.parametrize(
        "fault",
        ["lost", "duplicated", "disordered", "unrecovered", "unanswered", "refused", "withheld", "absent", "garbled"],
    )
    def test_each_fault_fails(self, fault: str) -> None:
        """One is enough, and it is named with its number."""
        report = Report(10, counts(**{fault: 1}))
        assert report.line().startswith("FAIL ")
        assert len(report.reasons()) == 1
        assert report.reasons()[0].startswith("1 ")
        assert report.to_json()["reasons"] == report.reasons()
        assert report.to_json()[fault] == 1

    def test_who_never_came_fails(self) -> None:
        """Also where no result came at all: then the cause is the reason."""
        assert Report(11, counts()).reasons() == ["1 clients never came in"]
        assert Report(11, Counts(), failures=("nobody listens",)).reasons() == ["nobody listens"]

    def test_it_is_said_and_written(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """The verdict is the last line of standard output; the JSON goes to a file, or before it."""
        report = Report(10, replace(counts(lost=2), examples=Counts().examples))
        report.counts.examples.append("lost: room:a: offset 3 after 1")
        swarm.show(report, str(tmp_path / "report.json"))
        said = capsys.readouterr()
        assert said.out == report.line() + "\n"
        assert "2 events were lost" in said.err
        assert "offset 3 after 1" in said.err
        swarm.show(report, "-")
        first, last, _ = capsys.readouterr().out.split("\n")
        assert json.loads(first) == json.loads((tmp_path / "report.json").read_text()) == report.to_json()
        assert last == report.line()


def test_counts_travel_and_add_up() -> None:
    """What two processes say is added; texts are bounded in number."""
    one = counts(lost=1, reconnects=2)
    one.to_ack.add(0.5)
    for number in range(PROBLEMS + 5):
        one.note(f"problem {number}")
        one.examples.append(f"example {number}")
    other = Counts.from_json(json.loads(json.dumps(one.to_json())))
    assert other == replace(one, to_ack=other.to_ack, to_reader=other.to_reader, to_return=other.to_return)
    assert other.to_ack.counts == one.to_ack.counts
    one.add(other)
    assert (one.tally.lost, one.reconnects, one.arrived, one.to_ack.count) == (2, 4, 20, 2)
    assert one.problems["others"] == 10
    assert len(one.examples) == EXAMPLES
