"""Rows become tables."""

import pytest

from bench.cases.profile import native_shares
from bench.report.summary import Key, Summary
from bench.report.tables import Column, Layout, tables
from bench.runs import Row

LAYOUT = Layout(
    "fanout",
    "Fan-out",
    (
        Column("faster, x", "rate", ratio=True),
        Column("cheaper, x", "cost", ratio=True, inverse=True),
        Column("rate", "rate"),
    ),
    split=("members",),
)


def row(peer: str, number: int, rate: float, cost: float = 1.0, members: int = 10) -> Row:
    """One measurement."""
    return Row("fanout", peer, number, {"members": members}, {"rate": rate, "cost": cost})


def test_rounds_become_one_line_with_its_spread() -> None:
    """The median stands first, the least and the most in brackets."""
    (table,) = tables(Summary(row("maru", number, rate) for number, rate in enumerate((1_000, 3_000, 2_000))), LAYOUT)
    assert table.lines == (("maru", "1", "1", "2,000 (1,000..3,000)"),)


def test_a_ratio_is_marus_to_the_peers() -> None:
    """More than 1 is in favour of Maru, where more is better and where less is."""
    summary = Summary([row("maru", 0, 3_000, 2.0), row("node", 0, 1_500, 8.0)])
    (table,) = tables(summary, LAYOUT)
    assert table.lines[1] == ("node", "2.00", "4.00", "1,500")


def test_what_differs_in_a_parameter_stands_apart() -> None:
    """Two numbers of members are two tables."""
    found = tables(Summary([row("maru", 0, 1.0, members=10), row("maru", 0, 1.0, members=20)]), LAYOUT)
    assert [table.title for table in found] == ["Fan-out: 10 members", "Fan-out: 20 members"]


def test_without_maru_there_is_no_ratio() -> None:
    """A peer alone has its own figures, and a dash."""
    (table,) = tables(Summary([row("node", 0, 1_500)]), LAYOUT)
    assert table.lines == (("node", "-", "-", "1,500"),)


def test_a_problem_is_kept_with_its_reason() -> None:
    """What could not be measured is never silently missing."""
    summary = Summary([Row("fanout", "nchan", 0, {"members": 10}, {}, "nginx is not installed")])
    assert summary.problems == {Key("fanout", "nchan", (("members", 10),)): "nginx is not installed"}


def test_a_table_is_aligned_for_a_terminal_and_ruled_for_a_page() -> None:
    """Both have the same cells."""
    (table,) = tables(Summary([row("maru", 0, 5.0)]), LAYOUT)
    assert table.text().splitlines()[1:] == [
        "      faster, x  cheaper, x  rate",
        "----  ---------  ----------  ----",
        "maru          1           1     5",
    ]
    assert table.markdown().splitlines()[-1] == "| maru | 1 | 1 | 5 |"


def test_a_native_profile_is_read() -> None:
    """Each symbol has its share, and so has each library as a whole."""
    shares = native_shares(
        "# Overhead  Shared Object  Symbol\n"
        "    60.50%  [kernel.kallsyms]  [k] tcp_sendmsg_locked      -      -\n"
        "    10.00%  [kernel.kallsyms]  [k] tcp_ack      -      -\n"
        "     9.50%  libpython3.11.so.1.0  [.] _PyEval_EvalFrameDefault      -      -\n"
    )
    assert shares == pytest.approx(
        {
            "all of kernel": 70.5,
            "kernel: tcp_sendmsg_locked": 60.5,
            "kernel: tcp_ack": 10.0,
            "all of libpython3": 9.5,
            "libpython3: _PyEval_EvalFrameDefault": 9.5,
        }
    )
