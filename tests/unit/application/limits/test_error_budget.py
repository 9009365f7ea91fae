"""The budget of refusals."""

from server.application.limits.error_budget import MAX_REFUSALS, REFUSALS_S, ErrorBudget


def test_two_hundred_in_a_minute_are_too_many() -> None:
    """The last of them says so."""
    budget = ErrorBudget()
    step = REFUSALS_S / (MAX_REFUSALS - 1)
    said = [budget.spent(10.0 + number * step) for number in range(MAX_REFUSALS)]
    assert said == [False] * (MAX_REFUSALS - 1) + [True]


def test_fewer_never_are() -> None:
    """A client that is refused three times a second, for ever, goes on."""
    budget = ErrorBudget()
    assert not any(budget.spent(number / 3) for number in range(5_000))
    assert any(budget.spent(10_000 + number / 3.4) for number in range(5_000))
