"""What is installed: the locks agree with setup.cfg and each other, and each image can be pinned to its bytes."""

import configparser
import re
import shutil
import subprocess
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.harness.server import ROOT

LOCKS: Mapping[str, tuple[str, ...]] = {
    "run": (),
    "test": ("test", "check"),
    "loadtest": ("loadtest",),
    "bench": ("bench",),
    "sbom": ("sbom",),
}
"""Each lock, and the extras of setup.cfg that it has beside what the server needs."""

PIN = re.compile(
    r"^(?P<requirement>[a-z0-9][a-z0-9._-]*(\[[a-z0-9,_-]+\])?==\S+)( ; (?P<marker>[^\\\n]+))? \\\n"
    r"(?P<hashes>(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+)    # via\b(?P<via>[^\n]*\n(    #   [^\n]+\n)*)",
    re.MULTILINE,
)

ADVISORIES = {
    "orjson": "3.11.5",  # GHSA-hx9q-6w63-j58v
    "pyjwt": "2.14.9",  # CVE-2026-101918
    "cryptography": "49.9",  # CVE-2026-69247
    "aiohttp": "3.14.4",  # PYSEC-2026-4389
    "python-socketio": "5.16.1",  # CVE-2026-48804
    "pytest": "9.0.2",  # CVE-2025-71176
}
"""Of each package, a version that an advisory names."""

DIGEST = "sha256:" + "0123456789abcdef" * 4
STUB = f"""#!/bin/sh
echo "$*" >>"$(dirname "$0")/asked"
echo {DIGEST}
"""


def wanted(*extras: str) -> dict[str, Requirement]:
    """What setup.cfg asks for, by name."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    texts = [config["options"]["install_requires"], *(config["options.extras_require"][extra] for extra in extras)]
    lines = [line for text in texts for line in text.splitlines() if line.strip() and not line.startswith("#")]
    found: dict[str, Requirement] = {}
    for requirement in map(Requirement, lines):
        name = canonicalize_name(requirement.name)
        # Twice, where an extra asks for an extra of it.
        found[name] = requirement if name not in found else _both(found[name], requirement)
    return found


def _both(first: Requirement, second: Requirement) -> Requirement:
    first.specifier &= second.specifier
    return first


def locked(lock: str) -> tuple[dict[str, set[str]], set[str]]:
    """The versions of a lock by name (several, for several Pythons), and the names that setup.cfg itself asks for."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    versions: dict[str, set[str]] = {}
    pins = list(PIN.finditer(text))
    direct: set[str] = set()
    for pin in pins:
        requirement = Requirement(pin["requirement"])
        name = canonicalize_name(requirement.name)
        versions.setdefault(name, set()).add(str(requirement.specifier).removeprefix("=="))
        if "(setup.cfg)" in pin["via"]:
            direct.add(name)
    assert len(pins) == len(re.findall(r"^[a-z]", text, re.MULTILINE)), "a pin without hashes"
    return versions, direct


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_is_that_of_setup_cfg(lock: str) -> None:
    """`make lock` was called after the last change: what is asked for is pinned within its range, and nothing else is
    there on its own account. Every pin has its hashes."""
    asked = wanted(*LOCKS[lock])
    versions, direct = locked(lock)
    assert direct == asked.keys()
    for name, requirement in asked.items():
        for version in versions[name]:
            assert requirement.specifier.contains(version), f"{lock}.txt: {requirement}, found {version}"


def test_the_locks_agree() -> None:
    """A package has one version in all of them: the server is tested with what it runs with."""
    for first, second in product(LOCKS, LOCKS):
        ours, theirs = locked(first)[0], locked(second)[0]
        both = ours.keys() & theirs.keys()
        assert {name: ours[name] for name in both} == {name: theirs[name] for name in both}


@pytest.mark.parametrize("package", ADVISORIES)
def test_floors_are_above_known_advisories(package: str) -> None:
    """Who installs without the locks gets no version that is known to be bad."""
    assert not wanted("test")[package].specifier.contains(ADVISORIES[package])


def test_the_tool_that_makes_the_locks_is_locked() -> None:
    """uv itself is installed by its hash, in the version that the Makefile names."""
    version = re.search(r"^UV := (uv==\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert version is not None
    text = (ROOT / "requirements/uv.txt").read_text()
    assert text.startswith(f"{version[1]} \\\n    --hash=sha256:")


def test_images_are_pinned_by_their_digests(tmp_path: Path) -> None:
    """`make digests` asks for each image once, writes its digest wherever the image stands, and can be called again."""
    engines = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("deploy/engines/*.yml"))
    files = ("Dockerfile", "docker-compose.test.yml", "deploy/kind-test-redis.yaml", *engines)
    (tmp_path / "deploy/engines").mkdir(parents=True)
    for name in (*files, "deploy/pin-images.sh"):
        shutil.copy(ROOT / name, tmp_path / name)
    before = {name: (tmp_path / name).read_text() for name in files}
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "skopeo").write_text(STUB)
    (tools / "skopeo").chmod(0o755)
    for _ in range(2):
        pin(tmp_path)
    after = {name: (tmp_path / name).read_text() for name in files}
    bare = re.compile(r"@sha256:[0-9a-f]{64}")
    assert {name: bare.sub("", text) for name, text in after.items()} == {
        name: bare.sub("", text) for name, text in before.items()
    }
    images = re.findall(
        r"\b((?:python|nginx|redis|postgres|nats|apache/kafka):\d[\w.-]*)(@\S+?)?(?=[\s}])", "".join(after.values())
    )
    named = {image for image, _ in images}
    assert named >= {"python:3.13-slim-bookworm", "nginx:1.28-bookworm", "redis:7.2-alpine", "apache/kafka:4.0.0"}
    assert {digest for _, digest in images if _} == {f"@{DIGEST}"}
    asked = (tools / "asked").read_text().splitlines()
    assert len(asked) == 2 * len({image for image, _ in images})
    pin(tmp_path, "--check")


def pin(folder: Path, *arguments: str) -> None:
    """Call the script, with nothing but the stub to ask."""
    environment = {"PATH": f"{folder / 'tools'}:/usr/bin:/bin"}
    subprocess.run(["sh", "deploy/pin-images.sh", *arguments], cwd=folder, env=environment, check=True, timeout=60)
