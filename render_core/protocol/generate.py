# SPDX-License-Identifier: Apache-2.0
"""Writes the Venus decoder, encoder and dispatcher: generate.py --registry vk.xml --output FOLDER."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emit_decode import emit_decode
from emit_docs import emit_docs
from emit_encode import emit_encode
from emit_execute import emit_execute
from emit_header import HEAD, comment_source, emit_header, emit_mesa_header
from emit_tables import emit_tables
from emit_test import emit_test
from registry import RegistryError, read_registry
from venus import Venus, check_version, read_rules

HERE = Path(__file__).parent


def load(registry: Path, *, folder: Path = HERE) -> Venus:
    """The protocol over `registry` and the tables of `folder`."""
    read = read_registry([registry, folder / "mesa.xml"])
    check_version(read)
    rules = read_rules(folder / "executor.toml")
    return Venus(read, folder / "commands.csv", folder / "extensions.csv", rules)


def outputs(venus: Venus, *, tests: bool = False) -> dict[str, str]:
    """The generated files: name to text. `tests`: those that only tests use."""
    head = HEAD.format(source=comment_source(venus))
    if tests:
        return emit_test(venus, head)
    return {
        "venus_gen.h": emit_header(venus),
        "venus_mesa_gen.h": emit_mesa_header(venus),
        "venus_decode_gen.c": emit_decode(venus, head),
        "venus_encode_gen.c": emit_encode(venus, head),
        "venus_execute_gen.c": emit_execute(venus, head),
        "venus_tables_gen.c": emit_tables(venus, head),
    }


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--registry", type=Path, required=True, help="the distribution's vk.xml")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--output", type=Path, help="the folder for the generated files")
    where.add_argument("--docs", type=Path, help="renew this document's tables instead")
    parser.add_argument("--tables", type=Path, default=HERE, help="the folder of mesa.xml, commands.csv and the others")
    parser.add_argument("--tests", action="store_true", help="write what tests use instead")
    options = parser.parse_args()
    try:
        venus = load(options.registry, folder=options.tables)
        if options.docs:
            files = {options.docs: emit_docs(venus, options.docs.read_text(encoding="utf-8"))}
        else:
            files = {options.output / name: text for name, text in outputs(venus, tests=options.tests).items()}
    except RegistryError as error:
        sys.stderr.write(f"generate.py: {error}\n")
        return 1
    for path, text in files.items():
        path.write_text(text.rstrip() + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
