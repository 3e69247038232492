# SPDX-License-Identifier: Apache-2.0
"""Random, valid Venus commands, straight from Vulkan's registry, without any of the generator's code.

venus_wire.py --registry vk.xml --protocol FOLDER --output FILE writes lines for test_venus_wire.
"""

from __future__ import annotations

import argparse
import csv
import random
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

SCALARS = {
    "int8_t": "i",
    "uint8_t": "I",
    "char": "i",
    "int16_t": "i",
    "uint16_t": "I",
    "int32_t": "i",
    "uint32_t": "I",
    "float": "f",
    "int64_t": "q",
    "uint64_t": "Q",
    "double": "d",
    "size_t": "Q",
}
SMALL = {"int8_t": 7, "uint8_t": 8, "char": 7, "int16_t": 15, "uint16_t": 16}
BYTES = {"void", "char", "uint8_t", "int8_t"}
UNIONS = {"VkClearValue": 0, "VkClearColorValue": 2, "VkDeviceOrHostAddressConstKHR": 0, "VkDeviceOrHostAddressKHR": 0}
# Of what is in vk.xml without meaning anything on the wire, or cannot be random.
STRIDES = {"vkCmdDrawMultiEXT": 8, "vkCmdDrawMultiIndexedEXT": 12}


def word(value: int) -> bytes:
    return struct.pack("<I", value & 0xFFFFFFFF)


def quad(value: int) -> bytes:
    return struct.pack("<Q", value)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


@dataclass(frozen=True, slots=True)
class Member:
    name: str
    type: str
    const: bool
    stars: int
    dim: str
    length: str
    string: bool
    optional: bool
    values: str

    @staticmethod
    def of(element: ElementTree.Element) -> Member:
        text = "".join(part for part in element.itertext())
        comment = element.findtext("comment") or ""
        text = text.replace(comment, "") if comment else text
        name, type_name = element.findtext("name") or "", element.findtext("type") or ""
        length: str = element.get("altlen") or element.get("len") or ""
        parts = length.split(",")
        dim = re.search(r"\[(\w+)\]", text)
        string = parts[-1] == "null-terminated" and not dim
        count = parts[0] if parts[0] != "null-terminated" and not dim else ""
        lenient = element.get("optional", "").split(",")[0] == "true" or element.get("noautovalidity") == "true"
        return Member(
            name,
            type_name,
            text.split(type_name)[0].strip().startswith("const"),
            text.count("*"),
            str(dim[1]) if dim else "",
            "" if count == "1" else count,
            string,
            lenient,
            element.get("values", ""),
        )


@dataclass(slots=True)
class Call:
    name: str
    number: int
    returns: str
    params: list[Member]


@dataclass(slots=True)
class Spec:
    """What the writer needs of the registry."""

    types: dict[str, ElementTree.Element] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    members: dict[str, list[Member]] = field(default_factory=dict)
    stypes: dict[str, int] = field(default_factory=dict)
    constants: dict[str, int] = field(default_factory=dict)
    wide: set[str] = field(default_factory=set)
    chains: dict[str, list[str]] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)

    def real(self, name: str) -> str:
        while name in self.aliases:
            name = self.aliases[name]
        return name

    def category(self, name: str) -> str:
        return self.types[name].get("category", "") if name in self.types else ""

    def scalar(self, name: str) -> str:
        """The struct module's letter for a scalar type."""
        name = self.real(name)
        if name in SCALARS:
            return SCALARS[name]
        if self.category(name) == "enum":
            return "Q" if name in self.wide else "i"
        return self.scalar(self.types[name].findtext("type") or "")


def _for_vulkan(element: ElementTree.Element) -> bool:
    return "vulkan" in element.get("api", "vulkan").split(",")


def _enum_value(enum: ElementTree.Element, number: int) -> int:
    if enum.get("value"):
        return int(enum.get("value", "0"), 0)
    base = 1000000000 + (int(enum.get("extnumber", number)) - 1) * 1000 + int(enum.get("offset", "0"))
    return -base if enum.get("dir") == "-" else base


def _read_types(spec: Spec, root: ElementTree.Element) -> None:
    for element in root.iterfind("types/type"):
        name = element.get("name") or element.findtext("name") or ""
        if not _for_vulkan(element):
            continue
        if alias := element.get("alias"):
            spec.aliases[name] = alias
            continue
        spec.types[name] = element
        spec.members[name] = [Member.of(member) for member in element.findall("member") if _for_vulkan(member)]
    for enums in root.findall("enums"):
        if enums.get("bitwidth") == "64":
            spec.wide.add(enums.get("name", ""))
        for enum in enums.findall("enum"):
            if enums.get("name") == "VkStructureType" and enum.get("value"):
                spec.stypes[enum.get("name", "")] = int(enum.get("value", "0"))
            if (enum.get("value") or "").isdigit():
                spec.constants[enum.get("name", "")] = int(enum.get("value", "0"))


def _plain(spec: Spec, name: str) -> bool:
    """False: a struct with members that cannot be sent."""
    return all(
        member.type not in ("int", "void") or member.name == "pNext" or member.length for member in spec.members[name]
    )


def _read_provided(spec: Spec, roots: Sequence[ElementTree.Element], extensions: set[str]) -> set[str]:
    """Commands of core and of the listed extensions; fills in what may be chained."""
    commands: set[str] = set()
    for root in roots:
        blocks = [element for element in root.findall("feature") if _for_vulkan(element)]
        blocks += [element for element in root.iterfind("extensions/extension") if element.get("name") in extensions]
        for element in root.iterfind(".//require/enum[@extends='VkStructureType']"):
            spec.stypes.setdefault(element.get("name", ""), 0)
        for block in (*root.findall("feature"), *root.iterfind("extensions/extension")):
            for enum in block.iterfind("require/enum[@extends='VkStructureType']"):
                if not enum.get("alias"):
                    spec.stypes[enum.get("name", "")] = _enum_value(enum, int(block.get("number", "0").split(".")[0]))
        for block in blocks:
            for require in block.findall("require"):
                commands |= {element.get("name", "") for element in require.findall("command")}
                if set(require.attrib) & {"depends", "feature", "extension"} or not _for_vulkan(require):
                    continue
                for element in require.findall("type"):
                    name = spec.real(element.get("name", ""))
                    extends = spec.types[name].get("structextends") if name in spec.types else None
                    for owner in (extends or "").split(",") if _plain(spec, name) and extends else ():
                        chain = spec.chains.setdefault(spec.real(owner), [])
                        if name not in chain:
                            chain.append(name)
    return commands


def read_spec(registry: Path, protocol: Path) -> Spec:
    spec = Spec()
    roots = [ElementTree.parse(path).getroot() for path in (registry, protocol / "mesa.xml")]
    for root in roots:
        _read_types(spec, root)
    with (protocol / "extensions.csv").open(encoding="utf-8") as file:
        extensions = {row["name"] for row in csv.DictReader(file)}
    provided = _read_provided(spec, roots, extensions)
    elements: dict[str, ElementTree.Element] = {}
    aliases: dict[str, str] = {}
    for root in roots:
        for element in root.iterfind("commands/command"):
            if _for_vulkan(element):
                elements[str(element.findtext("proto/name") or element.get("name"))] = element
                aliases[element.get("name", "")] = element.get("alias", "")
    with (protocol / "commands.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            name: str = row["name"]
            listed = name in provided
            name = aliases.get(name) or name
            if row["encoding"] or name not in elements or not (listed or name in provided):
                continue
            element = elements[name]
            params = [Member.of(param) for param in element.findall("param") if _for_vulkan(param)]
            spec.calls.append(Call(row["name"], int(row["number"]), element.findtext("proto/type") or "", params))
    return spec


class Writer:
    """Writes random values; `Sizes` (name to number) hold the counts that arrays follow."""

    def __init__(self, spec: Spec, seed: int) -> None:
        self.spec = spec
        self.random = random.Random(seed)

    # ---- values ----

    def scalar(self, type_name: str, value: int | None = None) -> bytes:
        letter = self.spec.scalar(type_name)
        if letter in "fd":
            return struct.pack(f"<{letter}", self.random.uniform(-1000, 1000))
        if value is None:
            bits = SMALL.get(self.spec.real(type_name), self.random.choice((1, 4, 31)))
            value = self.random.getrandbits(1 if type_name == "VkBool32" else bits)
            if letter in "qQ" and self.random.random() < 0.3:
                value = self.random.getrandbits(63)
        return struct.pack(f"<{letter}", value)

    def handle(self, member: Member | None = None) -> bytes:
        if member and member.optional and self.random.random() < 0.3:
            return quad(0)
        return quad(self.random.randrange(1, 1 << 40))

    def element(self, member: Member, *, partial: bool, given: dict[str, int] | None = None) -> bytes:
        """One element of an array, or what a pointer points to."""
        name = self.spec.real(member.type)
        category = self.spec.category(name)
        if category == "handle":
            return self.handle()
        if category == "struct":
            return self.struct(name, partial=partial, given=given)
        if category == "union":
            return self.union(name)
        return b"" if partial else self.scalar(member.type)

    def union(self, name: str) -> bytes:
        index = UNIONS[name]
        return word(index) + self.whole(self.spec.members[name][index], {})

    # ---- lengths ----

    def length(self, member: Member, sizes: dict[str, int]) -> int:
        text = member.length.split("->")[-1]
        words = {name: sizes[name] for name in re.findall(r"[a-z]\w*", text)}
        text = re.sub(r"VK_\w+", lambda found: str(self.spec.constants[found[0]]), text)
        return int(eval(text.replace("/", "//"), {"__builtins__": {}}, words))

    def choose(self, members: Iterable[Member], given: dict[str, int]) -> dict[str, int]:
        """Counts for all arrays among the members."""
        sizes = dict(given)
        listed = list(members)
        for member in listed:
            for name in re.findall(r"[a-z]\w*", member.length.split("->")[-1]):
                if name not in sizes:
                    sizes[name] = self.random.choice((0, 1, 1, 2, 3))
                    if name == "codeSize":
                        sizes[name] *= 4
                    elif "amples" in name and "/" in member.length:
                        sizes[name] = self.random.choice((1, 4, 32, 64))
        return sizes

    # ---- members that are sent whole ----

    def whole(self, member: Member, sizes: dict[str, int]) -> bytes:
        number = member.name
        if member.type == "VkAllocationCallbacks":
            return quad(0)
        if member.dim:
            count = int(member.dim) if member.dim.isdigit() else self.spec.constants[member.dim]
            return quad(count) + self.elements(member, count, partial=False)
        if member.string:
            return self.strings(member, sizes)
        if member.length:
            count = self.length(member, sizes)
            if member.optional and self.random.random() < 0.2:
                return quad(0)
            return quad(count) + self.elements(member, count, partial=False)
        if member.stars:
            if member.optional and self.random.random() < 0.4:
                return quad(0)
            given = {name: value for name, value in sizes.items()}
            return quad(1) + self.element(member, partial=False, given=given)
        category = self.spec.category(self.spec.real(member.type))
        if category == "handle":
            return self.handle(member)
        if category in ("struct", "union"):
            return self.element(member, partial=False)
        return self.scalar(member.type, sizes.get(number))

    def strings(self, member: Member, sizes: dict[str, int]) -> bytes:
        def one() -> bytes:
            text = bytes(self.random.randrange(33, 127) for _ in range(self.random.randrange(9))) + b"\0"
            return quad(len(text)) + padded(text)

        if not member.length:
            return quad(0) if member.optional and self.random.random() < 0.3 else one()
        count = self.length(member, sizes)
        return quad(count) + b"".join(one() for _ in range(count))

    def elements(self, member: Member, count: int, *, partial: bool) -> bytes:
        if member.type in BYTES:
            return b"" if partial else padded(self.random.randbytes(count))
        return b"".join(self.element(member, partial=partial) for _ in range(count))

    # ---- what is sent of outputs ----

    def part(self, member: Member, sizes: dict[str, int], lengths: set[str]) -> bytes:
        category = self.spec.category(self.spec.real(member.type))
        if member.dim:
            count = int(member.dim) if member.dim.isdigit() else self.spec.constants[member.dim]
            known = category in ("handle", "struct")
            return quad(count) + self.elements(member, count, partial=True) if known else b""
        if member.length:
            count = self.length(member, sizes)
            if member.optional and self.random.random() < 0.3:
                return quad(0)
            return quad(count) + self.elements(member, count, partial=True)
        if member.stars:
            if member.optional and self.random.random() < 0.3:
                return quad(0)
            return quad(1) + self.element(member, partial=True)
        if member.name in lengths:
            return self.scalar(member.type, sizes[member.name])
        return self.element(member, partial=True) if category in ("handle", "struct") else b""

    # ---- structs ----

    def struct(self, name: str, *, partial: bool, given: dict[str, int] | None = None) -> bytes:
        members = self.spec.members[name]
        if not members[0].values:
            return self.body(members, partial=partial, given=given)
        chain = self.spec.chains.get(name, [])
        chained = self.random.sample(chain, min(len(chain), self.random.choice((0, 0, 1, 2, 3))))
        return (
            word(self.spec.stypes[members[0].values])
            + self.chain(chained, partial=partial)
            + self.body(members[2:], partial=partial, given=given)
        )

    def chain(self, names: list[str], *, partial: bool) -> bytes:
        if not names:
            return quad(0)
        members = self.spec.members[names[0]]
        rest = self.chain(names[1:], partial=partial)
        return quad(1) + word(self.spec.stypes[members[0].values]) + rest + self.body(members[2:], partial=partial)

    def body(self, members: list[Member], *, partial: bool, given: dict[str, int] | None = None) -> bytes:
        relevant = {member.name: (given or {})[member.name] for member in members if member.name in (given or {})}
        sizes = self.choose(members, relevant)
        lengths = {name for member in members for name in re.findall(r"[a-z]\w*", member.length)}
        if partial:
            return b"".join(self.part(member, sizes, lengths) for member in members)
        return b"".join(self.whole(member, sizes) for member in members)

    # ---- commands ----

    def command(self, call: Call) -> tuple[bytes, bytes]:
        """A request, and a reply to it."""
        sizes = self.choose(call.params, {})
        if call.name in STRIDES:
            sizes["stride"] = STRIDES[call.name]
        request = word(call.number) + word(1)
        reply = word(call.number)
        if call.returns != "void":
            reply += self.scalar(call.returns)
        counts = {name for param in call.params for name in re.findall(r"\w+", param.length)}
        answered = dict(sizes)
        for index, param in enumerate(call.params):
            output = param.stars > 0 and not param.const and param.type != "VkAllocationCallbacks"
            if not output:
                first = index == 0 and self.spec.category(self.spec.real(param.type)) == "handle" and not param.stars
                request += self.handle() if first else self.whole(param, sizes)
            elif param.name in counts:
                request += quad(1) + self.scalar(param.type, sizes[param.name])
                answered[param.name] = self.random.randrange(sizes[param.name] + 1)
                reply += quad(1) + self.scalar(param.type, answered[param.name])
            else:
                sent = self.part(param, sizes, set())
                request += sent
                reply += quad(0) if sent[:8] == quad(0) else self.answer(param, answered)
        return request, reply

    def answer(self, param: Member, sizes: dict[str, int]) -> bytes:
        if param.length:
            count = self.length(param, sizes)
            return quad(count) + self.elements(param, count, partial=False)
        return quad(1) + self.element(param, partial=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--registry", type=Path, required=True)
    parser.add_argument(
        "--protocol", type=Path, required=True, help="the folder with mesa.xml, commands.csv, extensions.csv"
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--each", type=int, default=8, help="commands of each number")
    options = parser.parse_args()
    spec = read_spec(options.registry, options.protocol)
    writer = Writer(spec, options.seed)
    lines = []
    for call in spec.calls:
        for _ in range(options.each):
            request, reply = writer.command(call)
            lines.append(f"{call.name} {call.number} 1 {request.hex()} {reply.hex()} -")
    options.output.write_text("\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
