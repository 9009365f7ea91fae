"""A scrape of `/metrics`, as numbers by name."""

from collections.abc import Iterable, Mapping
from typing import Any

import aiohttp
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

TEXT = "text/plain"
OPENMETRICS = "application/openmetrics-text"

Samples = dict[str, float]
"""By the name with its labels in their order, e.g. `maru_resumes_total{result="expired"}`."""


def read(text: str, media_type: str = TEXT) -> Samples:
    """Read every sample. OpenMetrics is read strictly: `ValueError` if the text is malformed."""
    families: Iterable[Any] = read_text(text) if media_type == TEXT else read_openmetrics(text)  # type: ignore[no-untyped-call]
    samples = [sample for family in families for sample in family.samples]
    return {sample.name + _labels(sample.labels): sample.value for sample in samples}


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in sorted(labels.items())) + "}" if labels else ""


def own(samples: Samples) -> Samples:
    """Those of Maru itself: not the process's and the interpreter's, which move by themselves."""
    return {name: value for name, value in samples.items() if not name.startswith(("maru_process", "python_"))}


async def scraped(internal_port: int, media_type: str = TEXT) -> str:
    """The text, as a Prometheus server gets it."""
    url = f"http://127.0.0.1:{internal_port}/metrics"
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers={"Accept": media_type}, raise_for_status=True) as response,
    ):
        assert response.content_type == media_type
        return await response.text()
