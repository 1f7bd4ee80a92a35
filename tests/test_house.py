"""What is kept under version control: no paths of one machine, no download addresses, pinned versions."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import calibrant

REPOSITORY = Path(__file__).resolve().parent.parent

MACHINE_PATH = re.compile(r"(?<![\w.~/})*-])/(?:home|Users|root|opt|work|tmp|mnt|scratch)/[\w.]")
REGISTRY = re.compile(r"https?://[^\s\"']+/(?:simple|packages)/|py" + r"pi\.org|pythonhosted\.org|\.wh" + r"l#")


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Every tracked text file by its name."""
    if not (REPOSITORY / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True)
    found = {}
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = REPOSITORY / name
        content = path.read_bytes() if path.is_file() else b""
        if b"\0" not in content:
            found[name] = content.decode("utf-8")
    return found


@pytest.mark.parametrize(("what", "pattern"), [("a machine's path", MACHINE_PATH), ("a registry", REGISTRY)])
def test_files_name_no(texts: dict[str, str], what: str, pattern: re.Pattern[str]) -> None:
    own = Path(__file__).relative_to(REPOSITORY).as_posix()
    found = [
        f"{name}:{number}: {line.strip()}"
        for name, text in texts.items()
        if name != own
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, f"{what} stands in\n" + "\n".join(found)


def test_links_between_documents_lead_somewhere(texts: dict[str, str]) -> None:
    broken = [
        f"{name}: {target}"
        for name, text in texts.items()
        if name.endswith(".md")
        for target in re.findall(r"\]\(([^)#:]+)\)", text)
        if not (REPOSITORY / name).parent.joinpath(target).exists()
    ]
    assert not broken


def test_constraints_are_name_and_version_only() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    assert lines == sorted(lines)
    assert all(re.fullmatch(r"[a-z0-9_.-]+==[\w.]+", line) for line in lines)


def test_constraints_cover_every_direct_dependency() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["test"]
    names = {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in wanted}  # type: ignore[index]
    pinned = {line.split("==")[0].replace("_", "-") for line in (REPOSITORY / "constraints.txt").read_text().split()}
    assert names <= pinned


def test_version_is_said_once() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["version"] == calibrant.__version__
