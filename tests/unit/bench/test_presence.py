"""What presence costs, as Redis tells it."""

from bench.presence import PAIRS, cpu_us


def test_the_cpu_time_is_read_from_the_answer() -> None:
    """That of the user and of the system, of the process alone."""
    info = "# CPU\r\nused_cpu_sys:0.5\r\nused_cpu_user:1.25\r\nused_cpu_sys_children:9.0\r\n"
    assert cpu_us(info) == 1_750_000


def test_each_user_is_in_ten_channels() -> None:
    """All pairs are different ones."""
    assert len(set(PAIRS)) == len(PAIRS) == 100_000
