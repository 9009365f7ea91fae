"""Which changes of reactions are events."""

from server.domain.reactions import is_told


def test_the_first_two_digits_of_a_count_are_told() -> None:
    """5,000 reactions are 230 events, and as many if all are taken back."""
    assert all(is_told(count, count + 1) and is_told(count + 1, count) for count in range(100))
    assert [count for count in range(101, 140) if is_told(count - 1, count)] == [110, 120, 130]
    assert [count for count in range(101, 140) if is_told(count, count - 1)] == [110, 120, 130]
    assert [count for count in range(1_001, 1_300) if is_told(count - 1, count)] == [1_100, 1_200]
    assert not is_told(7, 7)
    told = sum(is_told(count, count + 1) for count in range(5_000))
    assert told == sum(is_told(count + 1, count) for count in range(5_000)) == 100 + 90 + 40
