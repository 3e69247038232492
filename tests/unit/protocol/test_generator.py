# SPDX-License-Identifier: Apache-2.0
"""The generator's output for small registries, and what it says of bad ones.

`python tests/unit/protocol/test_generator.py` writes what is expected anew: look at the difference before a commit.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROTOCOL = ROOT / "render_core" / "protocol"
DOCUMENT = ROOT / "docs" / "protocol" / "venus.md"
REGISTRY = Path("/usr/share/vulkan/registry/vk.xml")
GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path for path in GOLDEN.glob("*.xml") if not path.name.startswith("bad_"))
BAD = sorted(GOLDEN.glob("bad_*.xml"))
NO_RULES = "".join(
    f"{key} = []\n"
    for key in ("hand_written", "poison_executor", "refused", "socket", "keep_objects", "limits", "functions")
)


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PROTOCOL / "generate.py", *arguments], capture_output=True, text=True, check=False
    )


def generate(registry: Path, folder: Path) -> str:
    """The decoder, the encoder and the dispatcher of all commands of a registry; or the error."""
    commands = re.findall(r'<command name="(\w+)"', registry.read_text(encoding="utf-8"))
    lines = [f"{number},{name}," for number, name in enumerate(commands)]
    (folder / "commands.csv").write_text("\n".join(["number,name,encoding", *lines, ""]), encoding="utf-8")
    (folder / "extensions.csv").write_text("number,name,spec_version\n", encoding="utf-8")
    (folder / "executor.toml").write_text(NO_RULES, encoding="utf-8")
    (folder / "mesa.xml").write_text("<registry/>\n", encoding="utf-8")
    result = run("--registry", registry, "--tables", folder, "--output", folder)
    if result.returncode != 0:
        assert result.returncode == 1, result.stderr
        return result.stderr
    parts = ["decode", "encode"] if registry.stem != "executors" else ["execute"]
    texts = [(folder / f"venus_{part}_gen.c").read_text(encoding="utf-8") for part in parts]
    return "/* SPDX-License-Identifier: Apache-2.0 */\n" + "\n".join(
        text.split("*/\n", 1)[1].removeprefix('#include "venus_gen.h"\n\n') for text in texts
    )


def expected(case: Path) -> Path:
    return case.with_suffix(".error" if case in BAD else ".golden")


@pytest.mark.parametrize("case", [*CASES, *BAD], ids=lambda case: case.stem)
def test_small_registries_give_what_is_expected(case: Path, tmp_path: Path) -> None:
    assert generate(case, tmp_path) == expected(case).read_text(encoding="utf-8")


def test_output_is_the_same_each_time(tmp_path: Path) -> None:
    if not REGISTRY.exists():
        pytest.skip("no registry is installed")
    texts = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        result = run("--registry", REGISTRY, "--output", folder)
        assert result.returncode == 0, result.stderr
        texts.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert texts[0] == texts[1]


def test_tables_name_their_bad_line(tmp_path: Path) -> None:
    generate(GOLDEN / "arrays.xml", tmp_path)
    (tmp_path / "commands.csv").write_text("number,name,encoding\n0,vkLightLamps,\n0,vkGetLamps,\n", encoding="utf-8")
    result = run("--registry", GOLDEN / "arrays.xml", "--tables", tmp_path, "--output", tmp_path)
    assert result.returncode == 1
    assert result.stderr == "generate.py: commands.csv:3: 0 is there twice\n"


def test_a_missing_registry_is_named(tmp_path: Path) -> None:
    result = run("--registry", tmp_path / "vk.xml", "--output", tmp_path)
    assert result.returncode == 1
    assert "vk.xml: No such file" in result.stderr


def test_the_document_is_fresh(tmp_path: Path) -> None:
    if not REGISTRY.exists():
        pytest.skip("no registry is installed")
    made = re.search(r"Vulkan headers\s+(\d+)", DOCUMENT.read_text(encoding="utf-8"))
    installed = re.search(r"VK_HEADER_VERSION</name> (\d+)", REGISTRY.read_text(encoding="utf-8"))
    assert made and installed
    if made[1] != installed[1]:
        pytest.skip(f"the document's tables are of registry {made[1]}, not of {installed[1]}")
    copy = tmp_path / "venus.md"
    copy.write_text(DOCUMENT.read_text(encoding="utf-8"), encoding="utf-8")
    result = run("--registry", REGISTRY, "--docs", copy)
    assert result.returncode == 0, result.stderr
    assert copy.read_text(encoding="utf-8") == DOCUMENT.read_text(encoding="utf-8"), "run `make docs`"


if __name__ == "__main__":
    for golden in (*CASES, *BAD):
        with tempfile.TemporaryDirectory() as name:
            expected(golden).write_text(generate(golden, Path(name)), encoding="utf-8")
