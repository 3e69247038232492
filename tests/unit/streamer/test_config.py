# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from streamer.config import media_addresses, runtime_directory, same_host, url_host, vulkan_environment


@pytest.mark.parametrize(
    ("origin", "host", "is_same"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1:8080", True),
        ("https://Desk.example", "desk.example", True),
        ("http://[::1]:8080", "[::1]:8080", True),
        ("http://127.0.0.1:8081", "127.0.0.1:8080", False),
        ("http://127.0.0.1:8080.example.com", "127.0.0.1:8080", False),
        ("http://user@127.0.0.1:8080", "127.0.0.1:8080", False),
        ("http://127.0.0.1:8080/path", "127.0.0.1:8080", False),
        ("ftp://127.0.0.1:8080", "127.0.0.1:8080", False),
        ("null", "null", False),
        ("", "", False),
        ("http://[", "[", False),
    ],
)
def test_origin_must_be_the_hosts(origin: str, host: str, is_same: bool) -> None:
    assert same_host(origin, host) is is_same


def test_wildcards_become_addresses() -> None:
    assert media_addresses(("127.0.0.1", "::1", "127.0.0.1")) == ("127.0.0.1", "::1")
    assert "127.0.0.1" in media_addresses(("0.0.0.0",))
    assert all(":" in address for address in media_addresses(("::",)))
    assert url_host(("::1",)) == "[::1]"
    assert url_host(("0.0.0.0",)) != "0.0.0.0"


def test_runtime_directory_must_be_ours_and_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = Path("/tmp")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing"))
    monkeypatch.setenv("TMPDIR", str(short))
    assert runtime_directory() == short
    long = tmp_path / ("x" * 70)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    assert runtime_directory() == short
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
    assert runtime_directory() == short


def test_private_mesa_is_found_and_the_machines_paths_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOGRAPH_MESA", str(tmp_path))
    monkeypatch.setenv("LD_LIBRARY_PATH", "/machine/lib")
    monkeypatch.delenv("VK_ADD_DRIVER_FILES", raising=False)
    assert vulkan_environment() == {}
    (tmp_path / "env").write_text(
        "# made by set-up\nVK_ADD_DRIVER_FILES=/m/lvp.json\nLD_LIBRARY_PATH=/m/lib\nbad line\n"
    )
    assert vulkan_environment() == {"VK_ADD_DRIVER_FILES": "/m/lvp.json", "LD_LIBRARY_PATH": "/m/lib:/machine/lib"}
