"""The chart's own papers: the README's table, the versions, what is packaged."""

import re
import tarfile
from pathlib import Path

import helm_python
import pytest
import yaml

from charts import values_table
from deploy import version
from server.settings.model import VERSION
from tests.chart.rendered import AUTH, CHART, OLDEST, REDIS, ROOT, faults, render

VALUES_OF_A_MANUAL = re.compile(r"^```yaml\n(# values\.yaml.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_table_is_up_to_date() -> None:
    """The README's table is what values.yaml says: `python charts/values_table.py` writes it."""
    assert values_table.main(["--check"]) == 0


def test_a_value_without_a_comment_is_found() -> None:
    """No value can be added without a word about it."""
    with pytest.raises(values_table.Undocumented, match=r"image\.tag has no comment"):
        values_table.table("image:\n  # -- Where\n  repository: maru\n  tag: ''\n")


def test_a_table_that_is_old_is_found() -> None:
    """What is between the marks is replaced, and nothing else."""
    readme = f"before\n{values_table.BEGIN}\nold\n{values_table.END}\nafter\n"
    assert values_table.written(readme, "# -- How many | much\nsize: 3\n") == (
        f"before\n{values_table.BEGIN}\n| value | default | |\n|---|---|---|\n"
        f"| `size` | `3` | How many \\| much |\n{values_table.END}\nafter\n"
    )


def test_the_versions_agree() -> None:
    """The chart runs this server, on the Kubernetes that its tests render for."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == VERSION
    assert version.main(["--check"]) == 0
    assert chart["kubeVersion"] == f">={OLDEST}.0-0"


def test_a_place_without_a_copy_is_a_fault() -> None:
    """Each copy gets the version, and nothing else; a copy that was moved away is not passed over."""
    patterns = version.PLACES["charts/maru/Chart.yaml"]
    written = version.with_version('version: 1.2.3\nappVersion: "1.2.3"\nkube: 1.2.3\n', patterns, "4.5.6")
    assert written == 'version: 4.5.6\nappVersion: "4.5.6"\nkube: 1.2.3\n'
    with pytest.raises(ValueError, match="no copy"):
        version.with_version("version: 1.2.3\n", patterns, "4.5.6")


def test_it_packages(tmp_path: Path) -> None:
    """`helm package` takes the chart with the files that its templates read, and renders the same from the archive."""
    archive = helm_python.package(CHART, destination=tmp_path)
    with tarfile.open(archive) as stream:
        names = set(stream.getnames())
    assert {"maru/files/alerts.yaml", "maru/files/dashboard.json", "maru/files/handshake.py", "maru/README.md"} <= names
    assert not [name for name in names if "__pycache__" in name]
    values = {"auth": {"existingSecret": "a"}}
    with helm_python.Chart.load(archive) as packed, helm_python.Chart.load(CHART) as folder:
        assert packed.render(values) == folder.render(values)


def test_the_values_in_the_manual_are_taken() -> None:
    """Each `values.yaml` of docs/operations.md renders, on top of the least, into valid objects."""
    blocks = VALUES_OF_A_MANUAL.findall((ROOT / "docs" / "operations.md").read_text())
    assert len(blocks) >= 6
    for block in blocks:
        rendered = render(AUTH, yaml.safe_load(block), name="maru")
        known = [found for found in rendered if found["kind"] != "BackendTrafficPolicy"]
        assert [fault for found in known for fault in faults(found)] == []
        assert {item["metadata"]["name"] for item in rendered.of("Service")} == {"maru", "maru-internal"}


def test_the_manual_hands_the_number_of_replicas_over() -> None:
    """What it applies before autoscaling is turned on is the release's Deployment, and of it the number alone."""
    manual = (ROOT / "docs" / "operations.md").read_text()
    (text,) = re.findall(r"--server-side --field-manager=autoscaler .*<<'END'\n(.*)\n *END$", manual, re.MULTILINE)
    given = yaml.safe_load(text)
    made = render(AUTH, REDIS, {"replicaCount": 3}, name="maru").one("Deployment")
    assert given == {
        "apiVersion": made["apiVersion"],
        "kind": made["kind"],
        "metadata": {"name": made["metadata"]["name"]},
        "spec": {"replicas": made["spec"]["replicas"]},
    }
