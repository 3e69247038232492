# SPDX-License-Identifier: Apache-2.0
"""Reads Vulkan's registry (vk.xml) into types, commands and extensions. Knows XML, nothing of the wire."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element
from xml.parsers import expat


class RegistryError(Exception):
    """The registry cannot be used. The text names the file and, where there is one, the line."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a struct or a parameter of a command."""

    name: str
    type: str  # the name alone: "VkBuffer"
    declaration: str  # as C writes it, without the semicolon: "const VkBuffer *pBuffers"
    const: bool  # what is pointed to
    pointers: int  # 2 for `const char *const *ppNames`
    dims: tuple[str, ...]  # fixed arrays: numbers or constants' names
    lens: tuple[str, ...]  # vk.xml's `len`, `altlen` where there is one
    optional: bool  # the value itself (the first of vk.xml's list)
    optional_elements: bool  # what is pointed to (the second)
    noautovalidity: bool
    selector: str
    selection: tuple[str, ...]
    values: str  # of sType
    stride: str
    bits: bool
    where: str  # "vk.xml:1234"


@dataclass(frozen=True, slots=True)
class Type:
    """A type. `category`: basetype, bitmask, enum, handle, struct, union, funcpointer, define, include, external."""

    name: str
    category: str
    where: str
    base: str = ""  # basetype, bitmask: what it is a typedef of
    members: tuple[Member, ...] = ()
    extends: tuple[str, ...] = ()  # structs in whose pNext chain it may be
    object_type: str = ""  # handles: VK_OBJECT_TYPE_...
    dispatchable: bool = False
    parent: str = ""

    @property
    def stype(self) -> str:
        """The name of its VkStructureType; "" where it has none."""
        return self.members[0].values if self.members and self.members[0].name == "sType" else ""


@dataclass(frozen=True, slots=True)
class Command:
    """A command under its canonical name."""

    name: str
    returns: str
    params: tuple[Member, ...]
    where: str


@dataclass(frozen=True, slots=True)
class Require:
    """What a block of a core version or an extension brings in, and what else it needs for that."""

    depends: str
    types: tuple[str, ...]
    commands: tuple[str, ...]
    enums: tuple[Element, ...]


@dataclass(frozen=True, slots=True)
class Extension:
    """An extension, or a core version (number 0)."""

    name: str
    number: int
    supported: bool
    provisional: bool
    requires: tuple[Require, ...]


@dataclass(slots=True)
class Registry:
    """One or more files, read in order. Names resolve through aliases by `type_of` and `command_of`."""

    types: dict[str, Type] = field(default_factory=dict)
    commands: dict[str, Command] = field(default_factory=dict)
    type_aliases: dict[str, str] = field(default_factory=dict)
    command_aliases: dict[str, str] = field(default_factory=dict)
    constants: dict[str, int] = field(default_factory=dict)
    wide_enums: set[str] = field(default_factory=set)
    features: list[Extension] = field(default_factory=list)
    extensions: dict[str, Extension] = field(default_factory=dict)
    header_version: int = 0

    def type_of(self, name: str) -> Type | None:
        """The type behind `name` and its aliases."""
        while name in self.type_aliases:
            name = self.type_aliases[name]
        return self.types.get(name)

    def command_of(self, name: str) -> Command | None:
        """The command behind `name` and its aliases."""
        while name in self.command_aliases:
            name = self.command_aliases[name]
        return self.commands.get(name)

    def command_names(self, name: str) -> tuple[str, ...]:
        """All names of the command behind `name`: the canonical one, then its aliases."""
        command = self.command_of(name)
        if command is None:
            return ()
        aliases = sorted(
            alias for alias in self.command_aliases if alias != command.name and self.command_of(alias) is command
        )
        return (command.name, *aliases)

    def length(self, dim: str) -> int:
        """The number of elements that a fixed array's dimension stands for."""
        if dim.isdigit():
            return int(dim)
        if dim not in self.constants:
            raise RegistryError(f"the constant {dim}, an array's length, is not defined")
        return self.constants[dim]


def _parse_xml(path: Path) -> Element:
    """The file's tree; each element has its line in the attribute "line"."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    root: list[Element] = []
    stack: list[Element] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        element = Element(tag, attributes | {"line": str(parser.CurrentLineNumber)})
        (stack[-1] if stack else root).append(element)
        stack.append(element)

    def end(_tag: str) -> None:
        stack.pop()

    def text(data: str) -> None:
        if not stack:
            return
        if len(stack[-1]):
            stack[-1][-1].tail = (stack[-1][-1].tail or "") + data
        else:
            stack[-1].text = (stack[-1].text or "") + data

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    try:
        parser.Parse(path.read_bytes(), True)
    except OSError as error:
        raise RegistryError(f"{path}: {error.strerror}") from error
    except expat.ExpatError as error:
        raise RegistryError(f"{path.name}:{error.lineno}: {expat.ErrorString(error.code)}") from error
    if root[0].tag != "registry":
        raise RegistryError(f"{path.name}:{root[0].get('line')}: the root is <{root[0].tag}>, not <registry>")
    return root[0]


def _ours(element: Element) -> bool:
    """False: of Vulkan SC alone."""
    return any(api.startswith("vulkan") and api != "vulkansc" for api in element.get("api", "vulkan").split(","))


def _pieces(element: Element) -> Iterator[tuple[str, str]]:
    """The declaration's parts in order, as (tag, text); tag "" is text between elements."""
    yield "", element.text or ""
    for child in element:
        if child.tag != "comment":
            yield child.tag, child.text or ""
        yield "", child.tail or ""


def _tidy(declaration: str) -> str:
    declaration = re.sub(r"\s+", " ", declaration).strip()
    declaration = re.sub(r"\s*\*\s*", " *", declaration)
    declaration = declaration.replace("* const", "*const").replace("*const*", "*const *").replace("* *", "**")
    return declaration.replace("*const *", "*const *").replace("*const  *", "*const *")


def _member(element: Element, where: str) -> Member:
    name = element.findtext("name")
    type_name = element.findtext("type")
    if not name or not type_name:
        raise RegistryError(f"{where}: <{element.tag}> lacks a name or a type")
    before = after = text = ""
    seen_name = False
    for tag, piece in _pieces(element):
        text += f" {piece} " if tag == "name" else piece
        if tag == "name":
            seen_name = True
        elif seen_name:
            after += piece
        elif tag != "type":
            before += piece
    altlen = element.get("altlen")
    lens = (altlen,) if altlen else tuple(filter(None, element.get("len", "").split(",")))
    declaration = re.sub(r"\s*([\[\]:])\s*", r"\1", _tidy(text))
    return Member(
        name=name,
        type=type_name,
        declaration=re.sub(r"\*(const )? ", lambda found: "*" + (found[1] or ""), declaration),
        const=bool(re.match(r"\s*const\b", before)),
        pointers=before.count("*"),
        dims=tuple(re.findall(r"\[\s*(\w+)\s*\]", after)),
        lens=lens,
        optional=element.get("optional", "false").split(",")[0] == "true",
        optional_elements=element.get("optional", "false").split(",")[1:2] == ["true"],
        noautovalidity=element.get("noautovalidity") == "true",
        selector=element.get("selector", ""),
        selection=tuple(filter(None, element.get("selection", "").split(","))),
        values=element.get("values", ""),
        stride=element.get("stride", ""),
        bits=":" in after,
        where=where,
    )


def _members(element: Element, tag: str, file: str) -> tuple[Member, ...]:
    return tuple(_member(child, f"{file}:{child.get('line')}") for child in element.findall(tag) if _ours(child))


def _read_type(registry: Registry, element: Element, file: str) -> None:
    name = element.get("name") or element.findtext("name") or ""
    where = f"{file}:{element.get('line')}"
    if alias := element.get("alias"):
        registry.type_aliases[name] = alias
        return
    category = element.get("category", "external")
    text = "".join(element.itertext())
    if name == "VK_HEADER_VERSION" and (found := re.search(r"VK_HEADER_VERSION\s+(\d+)", text)):
        registry.header_version = int(found[1])
    base = element.findtext("type") or ""
    members: tuple[Member, ...] = ()
    if category in ("struct", "union"):
        members = _members(element, "member", file)
    registry.types[name] = Type(
        name=name,
        category=category,
        where=where,
        base=base if category in ("basetype", "bitmask") else "",
        members=members,
        extends=tuple(filter(None, element.get("structextends", "").split(","))),
        object_type=element.get("objtypeenum", ""),
        dispatchable=category == "handle" and base == "VK_DEFINE_HANDLE",
        parent=element.get("parent", ""),
    )


def _read_command(registry: Registry, element: Element, file: str) -> None:
    where = f"{file}:{element.get('line')}"
    if alias := element.get("alias"):
        registry.command_aliases[element.get("name", "")] = alias
        return
    proto = element.find("proto")
    name = proto.findtext("name") if proto is not None else None
    returns = proto.findtext("type") if proto is not None else None
    if not name or not returns:
        raise RegistryError(f"{where}: the command has no name or no return type")
    registry.commands[name] = Command(name, returns, _members(element, "param", file), where)


def _read_constants(registry: Registry, element: Element) -> None:
    for enum in element.findall("enum"):
        name, alias = enum.get("name", ""), enum.get("alias")
        if alias in registry.constants:
            registry.constants[name] = registry.constants[alias]
        elif re.fullmatch(r"\d+", value := enum.get("value", "")):
            registry.constants[name] = int(value)


def _extension(element: Element) -> Extension:
    requires = []
    for block in element.findall("require"):
        if not _ours(block):
            continue
        depends = block.get("depends") or "+".join(
            part for part in (block.get("feature", ""), block.get("extension", "").replace(",", "+")) if part
        )
        requires.append(
            Require(
                depends,
                tuple(child.get("name", "") for child in block.findall("type")),
                tuple(child.get("name", "") for child in block.findall("command")),
                tuple(child for child in block.findall("enum") if _ours(child)),
            )
        )
    return Extension(
        element.get("name", ""),
        int(element.get("number", "0")) if element.tag == "extension" else 0,
        element.tag == "feature" or "vulkan" in element.get("supported", "").split(","),
        element.get("provisional") == "true",
        tuple(requires),
    )


def read_registry(paths: Iterable[Path]) -> Registry:
    """Read vk.xml and what is laid over it.

    Raises:
        RegistryError: a file cannot be read, or is no registry.
    """
    registry = Registry()
    for path in paths:
        root = _parse_xml(path)
        for element in root.iterfind("types/type"):
            if _ours(element):
                _read_type(registry, element, path.name)
        for element in root.iterfind("commands/command"):
            if _ours(element):
                _read_command(registry, element, path.name)
        for element in root.findall("enums"):
            if element.get("name") == "API Constants" or element.get("type") == "constants":
                _read_constants(registry, element)
            if element.get("bitwidth") == "64":
                registry.wide_enums.add(element.get("name", ""))
        registry.features += [_extension(element) for element in root.findall("feature") if _ours(element)]
        for element in root.iterfind("extensions/extension"):
            extension = _extension(element)
            registry.extensions[extension.name] = extension
    if not registry.types or not registry.commands:
        raise RegistryError("the registry has no types or no commands")
    return registry
