# SPDX-License-Identifier: Apache-2.0
"""The tree keeps its promises: what is installed, licences, nothing of one developer's machine."""

import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("guest_agent", "render_core", "streamer")
NOT_OURS = {".git", ".venv", "__pycache__", "build", "dist", "node_modules"}
SOURCES = {".build", ".c", ".comp", ".css", ".glsl", ".h", ".html", ".js", ".options", ".py", ".pyi", ".sh", ".toml"}
SOURCE_NAMES = {"Makefile", "run"}
INSTALLED = {".css", ".html", ".js", ".py", ".pyi", ".svg"}

# Home folders and the like, with a name behind them; package registries by host. (No line here matches itself.)
MACHINE_PATH = re.compile(r"(?<![\w.~$}/*-])/(?:home|root|Users|work)/\w")
REGISTRY = re.compile(
    r"\b(?:deb|security|archive|snapshot|ports)\.(?:debian|ubuntu)\.|\bpypi\.org|pythonhosted\.|npmjs\."
)


@cache
def files() -> tuple[Path, ...]:
    """Every file of the tree that git would take, relative to the root."""

    def walk() -> Iterator[Path]:
        for folder, folders, names in os.walk(ROOT):
            folders[:] = [
                name
                for name in folders
                if name not in NOT_OURS and not name.startswith("build-") and not name.endswith("_cache")
            ]
            for name in names:
                yield (Path(folder) / name).relative_to(ROOT)

    return tuple(sorted(path for path in walk() if path.parts[0] not in (".cache",) and "prebuilt" not in path.parts))


def text_of(path: Path) -> str | None:
    """The file's text; None for pictures and other bytes."""
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def listed_in_meson(package: str) -> tuple[set[str], set[str]]:
    """The strings of the package's meson.build files as paths inside the package, and the folders installed whole."""
    names: set[str] = set()
    folders: set[str] = set()
    for path in files():
        if path.parts[0] != package or path.name != "meson.build":
            continue
        inside = path.parent.relative_to(package)
        text = re.sub(r"#.*", "", text_of(path) or "")
        names |= {(inside / name).as_posix() for name in re.findall(r"'([^'\n]+)'", text)}
        folders |= {(inside / name).as_posix() for name in re.findall(r"install_subdir\(\s*'([^']+)'", text)}
    return names, folders


@pytest.mark.parametrize("package", PACKAGES)
def test_meson_installs_every_file_of_the_package(package: str) -> None:
    names, folders = listed_in_meson(package)
    inside = [path.relative_to(package).as_posix() for path in files() if path.parts[0] == package]
    missing = [
        name
        for name in inside
        if Path(name).suffix in INSTALLED
        and name not in names
        and not any(name.startswith(f"{folder}/") for folder in folders)
    ]
    assert not missing, f"{package}/meson.build does not list {missing}: an installed Heliograph would lack them"


@pytest.mark.parametrize("package", PACKAGES)
def test_meson_lists_nothing_that_is_gone(package: str) -> None:
    names, _folders = listed_in_meson(package)
    gone = [name for name in sorted(names) if name.endswith(".py") and not (ROOT / package / name).exists()]
    assert not gone, f"{package}/meson.build lists {gone}, which are not in the tree"


def test_every_source_names_its_licence() -> None:
    lacking = [
        str(path)
        for path in files()
        if (path.suffix in SOURCES or path.name in SOURCE_NAMES)
        and (text := text_of(path))
        and "SPDX-License-Identifier: " not in "\n".join(text.splitlines()[:3])
    ]
    assert not lacking, f"no SPDX-License-Identifier line in {lacking}"


def test_nothing_names_one_machine_or_a_package_registry() -> None:
    found = [
        f"{path}:{number}: {line.strip()[:100]}"
        for path in files()
        for number, line in enumerate((text_of(path) or "").splitlines(), 1)
        if MACHINE_PATH.search(line) or REGISTRY.search(line)
    ]
    assert not found, "\n".join(found)


def test_shell_scripts_parse() -> None:
    for path in files():
        if path.suffix == ".sh" or path.as_posix() == ".ci/run":
            result = subprocess.run(["bash", "-n", str(ROOT / path)], capture_output=True, text=True, check=False)
            assert result.returncode == 0, result.stderr


def test_set_up_refuses_a_step_that_it_does_not_know() -> None:
    result = subprocess.run([str(ROOT / "setup.sh"), "sytem"], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "no step sytem" in result.stderr


def test_every_system_package_says_why_it_is_there() -> None:
    for line in (ROOT / "setup.packages").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            assert re.fullmatch(r"\??[a-z0-9][a-z0-9.+-]+(?: \| [a-z0-9][a-z0-9.+-]+)*\s+# .+", line), line


def test_make_help_lists_every_target() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony is not None
    listed = set(re.findall(r"^([a-z0-9-]+):.*## ", text, re.MULTILINE))
    assert listed == set(phony[1].split())
