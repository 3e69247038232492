# SPDX-License-Identifier: Apache-2.0
"""What of the registry the Venus protocol carries: commands by number, extensions, what may be chained."""

from __future__ import annotations

import csv
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from registry import Command, Extension, Member, Registry, RegistryError, Type

OLDEST = 239  # VK_HEADER_VERSION of the oldest registry that is enough


class State(Enum):
    """What becomes of a command number."""

    GENERATED = "executed"
    HAND_WRITTEN = "executed (hand-written)"
    REFUSED = "refused"
    NOT_ENCODED = "no encoding"
    NOT_CARRIED = "not carried"
    UNKNOWN = "not in the registry"


@dataclass(frozen=True, slots=True)
class Rules:
    """executor.toml."""

    hand_written: frozenset[str]
    poison_executor: frozenset[str]
    refused: frozenset[str]
    socket: frozenset[str]
    keep_objects: frozenset[str]
    limits: frozenset[str]
    functions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WireCommand:
    """A command number of the protocol. `command` is None where it is not decoded."""

    number: int
    name: str  # "vkCreateBuffer", as commands.csv has it
    state: State
    command: Command | None

    @property
    def short(self) -> str:
        """What the generated names are made of."""
        return self.name.removeprefix("vk")


@dataclass(frozen=True, slots=True)
class WireExtension:
    """An extension that clients' encoders know."""

    number: int
    name: str
    spec_version: int
    known: bool  # to the registry


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    with path.open(encoding="utf-8", newline="") as file:
        for line, row in enumerate(csv.DictReader(file), 2):
            if None in row or None in row.values() or not (row.get("number") or "").isdigit():
                raise RegistryError(f"{path.name}:{line}: a row is not complete, or its number is none")
            yield line, row


def read_rules(path: Path) -> Rules:
    """Read executor.toml.

    Raises:
        RegistryError: a key is missing or unknown.
    """
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    names = set(Rules.__dataclass_fields__)
    if set(data) != names:
        raise RegistryError(f"{path.name}: its keys are {sorted(data)}, not {sorted(names)}")
    functions = tuple(data.pop("functions"))
    return Rules(functions=functions, **{name: frozenset(values) for name, values in data.items()})


class Venus:
    """The protocol, laid over one registry."""

    def __init__(self, registry: Registry, commands: Path, extensions: Path, rules: Rules) -> None:
        self.registry = registry
        self.rules = rules
        self.extensions = self._read_extensions(extensions)
        listed = {extension.name for extension in self.extensions if extension.known}
        self._available = listed | {feature.name for feature in registry.features}
        self._providers: list[Extension] = [
            *registry.features,
            *(registry.extensions[name] for name in sorted(listed)),
        ]
        self._types = self._provided_types()
        self._commands = {
            registered.name
            for provider in self._providers
            for block in provider.requires
            for name in block.commands
            if (registered := registry.command_of(name))
        }
        self._chains = self._collect_chains()
        self.commands = self._read_commands(commands)
        self._check_rules()

    @property
    def decoded(self) -> list[tuple[WireCommand, Command]]:
        """The commands that are decoded, by number."""
        return [(wire, wire.command) for wire in self.commands if wire.command]

    def chain_of(self, owner: Type) -> tuple[Type, ...]:
        """The structs that may be in the pNext chain of `owner`, by name."""
        return self._chains.get(owner.name, ())

    def function_names(self, name: str) -> tuple[str, ...]:
        """The names under which a driver may have a command: core's first, then KHR's, EXT's, others'."""

        def rank(candidate: str) -> tuple[int, str]:
            suffix = re.search(r"(KHR|EXT|[A-Z]{2,})$", candidate)
            order = {"": 0, "KHR": 1, "EXT": 2}
            return order.get(suffix[1] if suffix else "", 3), candidate

        return tuple(sorted(self.registry.command_names(name), key=rank))

    def level(self, command: Command) -> str:
        """ "global", "instance" or "device": whose function it is."""
        first = command.params[0].type if command.params else ""
        if command.name in ("vkCreateInstance",) or command.name.startswith("vkEnumerateInstance"):
            return "global"
        return "instance" if first in ("VkInstance", "VkPhysicalDevice") else "device"

    def carries(self, member: Member) -> bool:
        """False: no wire type stands for it (file descriptors, callbacks, memory without a length, windows)."""
        registered = self.registry.type_of(member.type)
        strings = member.lens[-1:] == ("null-terminated",)
        if member.pointers > (2 if strings else 1) or len(member.dims) > 1:
            return False
        if member.type == "VkAllocationCallbacks" or member.name == "pNext":
            return True
        if member.type == "void":
            return member.pointers == 1 and bool(member.lens)
        if member.bits:
            return False
        if member.type in SCALARS:
            return True
        if member.type == "int" or registered is None:
            return False
        if registered.category == "union" and registered.name not in UNION_MEMBERS:
            if not all(inner.selection for inner in registered.members):
                return False
        if registered.category in ("struct", "union"):
            return all(self.carries(inner) for inner in registered.members)
        if registered.category == "basetype":
            return bool(registered.base)
        return registered.category in ("bitmask", "enum", "handle")

    def _read_extensions(self, path: Path) -> list[WireExtension]:
        found = []
        for line, row in _rows(path):
            number, name = int(row["number"]), row["name"]
            registered = self.registry.extensions.get(name)
            if registered and registered.number != number:
                raise RegistryError(f"{path.name}:{line}: the registry's number of {name} is {registered.number}")
            known = registered is not None and registered.supported and not registered.provisional
            found.append(WireExtension(number, name, int(row["spec_version"]), known))
        return found

    def _provided_types(self) -> set[str]:
        """Types that core or a listed extension brings in, blocks for others left out."""
        return {
            registered.name
            for provider in self._providers
            for block in provider.requires
            if holds(block.depends, self._available)
            for name in block.types
            if (registered := self.registry.type_of(name))
        }

    def _collect_chains(self) -> dict[str, tuple[Type, ...]]:
        chains: dict[str, list[Type]] = {}
        for name in sorted(self._types):
            struct = self.registry.types[name]
            if not struct.stype or not all(self.carries(member) for member in struct.members):
                continue
            for owner in struct.extends:
                if registered := self.registry.type_of(owner):
                    chains.setdefault(registered.name, []).append(struct)
        return {name: tuple(structs) for name, structs in chains.items()}

    def _read_commands(self, path: Path) -> list[WireCommand]:
        found: list[WireCommand] = []
        numbers: set[int] = set()
        for line, row in _rows(path):
            number, name = int(row["number"]), row["name"]
            if number in numbers:
                raise RegistryError(f"{path.name}:{line}: {number} is there twice")
            numbers.add(number)
            command = self.registry.command_of(name)
            for suffix in ("KHR", "EXT"):
                command = command or self.registry.command_of(name + suffix)
            state = self._state(name, command, row["encoding"])
            decoded = state in (State.GENERATED, State.HAND_WRITTEN, State.REFUSED)
            found.append(WireCommand(number, name, state, command if decoded else None))
        return sorted(found, key=lambda wire: wire.number)

    def _state(self, name: str, command: Command | None, encoding: str) -> State:
        short = name.removeprefix("vk")
        if encoding == "none":
            return State.NOT_ENCODED
        if command is None:
            return State.UNKNOWN
        if command.name not in self._commands or not all(self.carries(param) for param in command.params):
            return State.NOT_CARRIED
        if short in self.rules.hand_written:
            return State.HAND_WRITTEN
        return State.REFUSED if short in self.rules.refused else State.GENERATED

    def _check_rules(self) -> None:
        names = {wire.short for wire in self.commands}
        for key in ("hand_written", "poison_executor", "refused", "socket"):
            if unknown := getattr(self.rules, key) - names:
                raise RegistryError(f"executor.toml: {key}: no such command: {', '.join(sorted(unknown))}")
        for entry in sorted(self.rules.limits):
            found = LIMIT.fullmatch(entry)
            if not found or found[1] not in names:
                raise RegistryError(f'executor.toml: limits: {entry!r} is not "COMMAND: COUNT <= LIMIT"')
        for entry in sorted(self.rules.keep_objects):
            struct, _, member = entry.partition(".")
            registered = self.registry.type_of(struct)
            if registered is None or member not in (inner.name for inner in registered.members):
                raise RegistryError(f"executor.toml: keep_objects: the registry has no {entry}")


# An entry of the limits: command, sum of parameters, the most that it may be.
LIMIT = re.compile(r"(\w+): ([\w.+ ]+) <= (\w+)")

# Unions without a selector, and the member that is always sent.
UNION_MEMBERS = {
    "VkClearValue": 0,
    "VkClearColorValue": 2,
    "VkDeviceOrHostAddressKHR": 0,
    "VkDeviceOrHostAddressConstKHR": 0,
    "VkPipelineExecutableStatisticValueKHR": 2,
}

SCALARS = frozenset(
    "int8_t uint8_t char int16_t uint16_t int32_t uint32_t float int64_t uint64_t double size_t".split()
)


def holds(depends: str, available: set[str]) -> bool:
    """A block's `depends`: names joined by "+" (and) and "," (or), with parentheses."""
    if not depends:
        return True
    tokens = re.findall(r"[()+,]|[\w:]+", depends)

    def alternatives() -> bool:
        value = term()
        while tokens and tokens[0] in "+,":
            operator, right = tokens.pop(0), term()
            value = (value and right) if operator == "+" else (value or right)
        return value

    def term() -> bool:
        token = tokens.pop(0) if tokens else ""
        if token == "(":
            value = alternatives()
            if tokens:
                tokens.pop(0)
            return value
        return token in available

    return alternatives()


def check_version(registry: Registry) -> None:
    """Raises RegistryError when the registry is too old."""
    newer = any(feature.name == "VK_VERSION_1_4" for feature in registry.features)
    if not newer and registry.header_version < OLDEST:
        raise RegistryError(
            f"vk.xml is of Vulkan 1.3.{registry.header_version}; 1.3.{OLDEST} is the oldest (Debian: libvulkan-dev)"
        )
