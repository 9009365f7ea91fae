"""deploy/engines: two replicas and nginx over each engine, with settings that the server takes."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.settings.choices import BroadcastKind, MessageLogKind
from server.settings.model import Settings

FOLDER = Path(__file__).parents[2] / "deploy" / "engines"

ENGINES = {
    "postgres": (MessageLogKind.POSTGRES, BroadcastKind.POSTGRES),
    "nats": (MessageLogKind.NATS, BroadcastKind.NATS),
    "kafka": (MessageLogKind.POSTGRES, BroadcastKind.KAFKA),
    "redis-cluster": (MessageLogKind.REDIS, BroadcastKind.REDIS),
}


def services(name: str) -> Any:
    """What a file runs."""
    return yaml.safe_load((FOLDER / f"{name}.yml").read_text("utf-8"))["services"]


def test_every_file_is_known() -> None:
    """A file that is added is tested."""
    assert {path.stem for path in FOLDER.glob("*.yml")} == {*ENGINES, "apps"}


@pytest.mark.parametrize("name", ENGINES)
def test_the_replicas_are_given_their_engine(name: str) -> None:
    """Both alike, behind the same nginx; the settings are those of a log and broadcast that go together."""
    found, shared = services(name), services("apps")
    assert found["app1"] == found["app2"]
    for service in ("app1", "app2", "nginx"):
        assert found[service]["extends"] in (
            {"file": "apps.yml", "service": "app"},
            {"file": "apps.yml", "service": "nginx"},
        )
        assert all(needed in found for needed in found[service]["depends_on"])
    given = {**shared["app"]["environment"], **found["app1"]["environment"]}
    values = {key: re.sub(r"\$\{.*?\}", "k7" * 20, value) for key, value in given.items()}
    settings = Settings.model_validate({key.removeprefix("MARU_").lower(): value for key, value in values.items()})
    assert (settings.message_log, settings.broadcast) == ENGINES[name]
    assert found["nginx"]["ports"] == ["127.0.0.1:${FRONT_PORT:-8080}:8080"]


@pytest.mark.parametrize("name", ENGINES)
def test_no_secret_has_a_default(name: str) -> None:
    """Nobody starts it with a password that anybody can read here."""
    text = (FOLDER / f"{name}.yml").read_text("utf-8") + (FOLDER / "apps.yml").read_text("utf-8")
    secrets = set(re.findall(r"\$\{(\w+_(?:SECRET|PASSWORD))", text))
    assert secrets >= {"JWT_SECRET"}
    for secret in secrets:
        assert f"${{{secret}:?" in text
        assert f"${{{secret}:-" not in text
