"""A shape for Locust: users come and stay, and from time to time all phones drop out at once and come back.

locust -f loadtest/locustfile.py,loadtest/locust_shape.py --host ... --headless -u 200 -r 20 -t 2m --storm-every 20
"""

from typing import Any

from locust import LoadTestShape, events


@events.init_command_line_parser.add_listener
def options(parser: Any) -> None:
    """Our option."""
    parser.add_argument_group("Maru").add_argument(
        "--storm-every",
        type=float,
        default=20.0,
        env_var="LOADTEST_STORM_EVERY",
        help="seconds between two storms, once all users are there",
    )


class StormShape(LoadTestShape):
    """Ramp and steady state are Locust's own: `-u`, `-r` and `-t`."""

    use_common_options = True

    def __init__(self) -> None:
        super().__init__()
        self._storms = 0

    def reset_time(self) -> None:
        """Start the shape again, as Locust does for each run."""
        super().reset_time()
        self._storms = 0

    def tick(self) -> tuple[int, float] | None:
        """Return the number of users and the spawn rate; None ends the run."""
        given = self.runner.environment.parsed_options
        users, rate, elapsed = given.num_users or 1, given.spawn_rate or 1.0, self.get_run_time()
        if given.run_time and elapsed > given.run_time:
            return None
        due = int(max(0.0, elapsed - users / rate) / given.storm_every)
        if due > self._storms:
            self._storms = due
            self.runner.send_message("storm", {})
        return users, rate
