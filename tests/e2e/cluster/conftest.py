"""What the cluster's tests share: a failed check tells its values."""

import pytest

pytest.register_assert_rewrite("tests.clients.group", "tests.e2e.cluster.gathering")
