"""What rules and dashboard ask for is what a server of this version shows, and `helm test` finds it."""

import asyncio
import json
import re
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from tests.chart.rendered import AUTH, CHART, render
from tests.harness.process import free_port
from tests.harness.server import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMED = re.compile(r"\b(?:maru|python|process)_\w+|\b\w+(?=\{)")
"""A metric: one of ours by its name, any other by its selector."""

SELECTED = re.compile(r"(\w+)\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"')

BY_PROMETHEUS = {"namespace", "job", "pod"}
"""Labels that the ServiceMonitor's targets get."""

SCRIPT_S = 30.0

Series = dict[str, list[dict[str, str]]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    """A server with the chart's settings, but for its addresses and its file."""
    places = {"MARU_HOST", "MARU_PORT", "MARU_INTERNAL_HOST", "MARU_INTERNAL_PORT", "MARU_SQLITE_PATH"}
    settings = render(AUTH).one("ConfigMap")["data"]
    env = {name: value for name, value in settings.items() if name not in places}
    # The name of an endpoint is a label. Nothing happens here, so this is asked for nothing.
    env["MARU_WEBHOOKS"] = '[{"name": "crm", "url": "http://127.0.0.1:9/", "secret": "whsec_%s"}]' % ("A" * 32)
    env["MARU_MESSAGE_LOG"] = "memory"
    async with ServerProcess(tmp_path_factory.mktemp("server"), env) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shown(server: ServerProcess) -> Series:
    """All series of one scrape, by name, each with its labels."""
    url = f"http://127.0.0.1:{server.internal_port}/metrics"
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        assert response.status == 200
        text = await response.text()
    found: Series = defaultdict(list)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name].append(sample.labels)
    return found


def _rules() -> list[dict[str, Any]]:
    rule = render(AUTH, {"metrics": {"prometheusRule": {"enabled": True}}}).one("PrometheusRule")
    (group,) = rule["spec"]["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def _panels() -> list[dict[str, Any]]:
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def _questions() -> Iterator[tuple[str, str]]:
    """Every PromQL text, with where it stands."""
    for rule in _rules():
        yield rule["alert"], rule["expr"]
    for panel in _panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text())
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield f"${variable['name']}", variable["definition"]


async def test_every_name_exists(shown: Series) -> None:
    """Each metric that a rule or a panel names is shown by a server that has done nothing yet."""
    missing = {
        (place, name)
        for place, question in _questions()
        for name in NAMED.findall(question)
        if name not in shown and name not in {"up", "label_values"}
    }
    assert missing == set()


async def test_every_label_exists(shown: Series) -> None:
    """Each label that is matched is on its metric, and each value that is matched is one that it can have."""
    missing = []
    for place, question in _questions():
        for name, inside in SELECTED.findall(question):
            for label, operator, text in MATCHER.findall(inside):
                values = {labels[label] for labels in shown.get(name, []) if label in labels}
                wanted = set(text.split("|")) if "~" in operator else {text}
                if label not in BY_PROMETHEUS and not wanted <= values:
                    missing.append((place, name, label, text))
    assert missing == []


async def test_grouping_is_by_labels_that_exist(shown: Series) -> None:
    """What a panel's legend or a sum is split by is a label of that metric."""
    missing = []
    for place, question in _questions():
        names = [name for name in NAMED.findall(question) if name != "up"]
        known = {label for name in names for labels in shown.get(name, []) for label in labels} | BY_PROMETHEUS
        for group in re.findall(r"\bby \(([^)]*)\)", question):
            missing += [(place, label) for label in group.split(", ") if label not in known]
    assert missing == []


async def test_nothing_that_is_counted_is_unseen(shown: Series) -> None:
    """Each metric of Maru's own is in a panel or a rule: what nobody sees need not be counted."""
    asked = {name for _, question in _questions() for name in NAMED.findall(question)}
    own = {name for name in shown if name.startswith("maru_") and not name.startswith("maru_process_")}
    halves = {name for name in own if name.endswith(("_count", "_sum", "_created"))}
    assert own - halves - asked == set()


async def test_the_dashboard_is_whole() -> None:
    """Every panel has a title, a source that can be chosen, a question, and a place that no other one has."""
    panels = json.loads((CHART / "files" / "dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        here = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not here & cells, f"{panel['title']} lies over another panel"
        assert place["x"] + place["w"] <= 24
        cells |= here
    for panel in _panels():
        assert panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert all('namespace="$namespace",job="$job"' in target["expr"] for target in panel["targets"])


async def test_rules_look_at_this_release_alone() -> None:
    """Each selector of each alert names the namespace and the job of the release."""
    mine = 'namespace="talk",job="chat-maru-internal"'
    for rule in _rules():
        selectors = [inside for _, inside in SELECTED.findall(rule["expr"])]
        assert selectors
        assert all(inside.startswith(mine) for inside in selectors), rule["alert"]


async def _handshake(url: str, folder: Path) -> tuple[int, str]:
    """Run the command of `helm test` against a URL; return its exit code and what it wrote."""
    (container,) = render(AUTH).one("Pod")["spec"]["containers"]
    assert container["command"] == ["python", "-c"]
    script, service = container["args"]
    assert service == "ws://chat-maru.talk.svc:8080/socket.io/"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        url,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(SCRIPT_S):
        said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_helm_test_greets_a_server(server: ServerProcess, tmp_path: Path) -> None:
    """The script of the test pod passes where a server answers."""
    code, said = await _handshake(f"ws://127.0.0.1:{server.port}/socket.io/", tmp_path)
    assert code == 0, said
    assert 'greets: 0{"sid"' in said


async def test_helm_test_fails_where_nothing_listens(tmp_path: Path) -> None:
    """And says what it tried."""
    code, said = await _handshake(f"ws://127.0.0.1:{free_port()}/socket.io/", tmp_path)
    assert code == 1
    assert "attempt 5 of 5" in said
    assert "Traceback" not in said
