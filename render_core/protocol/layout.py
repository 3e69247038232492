# SPDX-License-Identifier: Apache-2.0
"""Sizes on the wire, and the C expressions that lengths and unions are worked out with."""

from __future__ import annotations

import re
from dataclasses import dataclass

from registry import Command, Member, RegistryError, Type
from shape import WIDE, Count, Kind, Shape, scalar_of
from venus import UNION_MEMBERS, Venus


@dataclass(frozen=True, slots=True)
class Owner:
    """Where siblings are looked up: a struct's members or a command's parameters, and the C pointer to them."""

    name: str  # "VkBufferCreateInfo"; "" for parameters
    pointer: str  # "value", "args"
    members: tuple[Member, ...]

    def field(self, member: Member) -> str:
        """The literal that errors name."""
        return f'"{self.name}.{member.name}"' if self.name else f'"{member.name}"'


class Layout:
    """What can be said of wire types without writing C."""

    def __init__(self, venus: Venus) -> None:
        self.venus = venus
        self._shapes: dict[str, tuple[Shape, ...]] = {}
        self._sizes: dict[tuple[str, bool], int] = {}
        self._packed: dict[str, int] = {}

    def shapes(self, struct: Type) -> tuple[Shape, ...]:
        """The shapes of a struct's or a union's members."""
        if struct.name not in self._shapes:
            self._shapes[struct.name] = tuple(Shape.of(self.venus, member) for member in struct.members)
        return self._shapes[struct.name]

    def param_shapes(self, command: Command) -> tuple[Shape, ...]:
        """The shapes of a command's parameters."""
        return tuple(Shape.of_param(self.venus, command, param) for param in command.params)

    def own(self, struct: Type) -> tuple[Shape, ...]:
        """The members behind sType and pNext."""
        return tuple(shape for shape in self.shapes(struct) if shape.kind not in (Kind.STYPE, Kind.CHAIN))

    def width(self, shape: Shape) -> int:
        """Bytes of one scalar in memory."""
        if shape.scalar in WIDE:
            return 8
        return (
            2
            if shape.scalar in ("int16_t", "uint16_t")
            else 1
            if "8_t" in shape.scalar or shape.scalar == "char"
            else 4
        )

    def scalar(self, name: str) -> str:
        """The C scalar behind a type's name."""
        return scalar_of(self.venus, name)

    def is_bool(self, shape: Shape) -> bool:
        """A VkBool32."""
        return shape.member.type == "VkBool32"

    def packed_width(self, struct: Type) -> int:
        """4 or 8 where the struct's bytes on the wire are those in memory, of scalars of that width; else 0."""
        if struct.name not in self._packed:
            widths = set()
            for shape in self.shapes(struct):
                if struct.category != "struct" or shape.count is not Count.ONE:
                    widths.add(0)
                elif shape.kind is Kind.STRUCT and shape.type:
                    widths.add(self.packed_width(shape.type))
                elif shape.kind is Kind.SCALAR and not self.is_bool(shape):
                    widths.add(self.width(shape))
                else:
                    widths.add(0)
            self._packed[struct.name] = widths.pop() if len(widths) == 1 and widths <= {4, 8} else 0
        return self._packed[struct.name]

    def element_packed(self, shape: Shape) -> int:
        """The alignment of elements that can be used where they lie; else 0."""
        if shape.kind is Kind.SCALAR and not self.is_bool(shape):
            return self.width(shape) if self.width(shape) >= 4 else 0
        return self.packed_width(shape.type) if shape.kind is Kind.STRUCT and shape.type else 0

    def element_size(self, shape: Shape, *, partial: bool = False) -> int:
        """The fewest bytes that one element takes on the wire."""
        if shape.kind is Kind.BYTES:
            return 0 if partial else 1
        if shape.kind is Kind.HANDLE:
            return 8
        if shape.kind is Kind.STRING:
            return 8
        if shape.kind in (Kind.STRUCT, Kind.UNION) and shape.type:
            return self.size(shape.type, partial=partial)
        return 0 if partial else max(4, self.width(shape))

    def size(self, struct: Type, *, partial: bool = False) -> int:
        """The fewest bytes that a struct or a union takes on the wire."""
        key = (struct.name, partial)
        if key not in self._sizes:
            if struct.category == "union":
                self._sizes[key] = (
                    0 if partial else 4 + min(self._member_size(shape, partial) for shape in self.shapes(struct))
                )
            else:
                lengths = self.dynamic_lengths(struct)
                self._sizes[key] = sum(
                    self._member_size(shape, partial and shape.member.name not in lengths)
                    for shape in self.shapes(struct)
                )
        return self._sizes[key]

    def _member_size(self, shape: Shape, partial: bool) -> int:
        if shape.kind is Kind.STYPE:
            return 4
        if shape.kind in (Kind.CHAIN, Kind.NULL):
            return 8
        if shape.count is Count.FIXED:
            number = self.venus.registry.length(shape.member.dims[0])
            if partial and shape.kind in (Kind.SCALAR, Kind.BYTES):
                return 0
            size = number * self.element_size(shape, partial=partial)
            return 8 + (size + 3) // 4 * 4
        if shape.count in (Count.POINTER, Count.DYNAMIC):
            return 8
        return self.element_size(shape, partial=partial)

    def dynamic_lengths(self, struct: Type) -> set[str]:
        """Members that say how long another, dynamic one is."""
        return {
            name
            for shape in self.shapes(struct)
            if shape.count is Count.DYNAMIC
            for name in re.findall(r"\w+", shape.length)
        }

    def expected(self, owner: Owner, shape: Shape) -> str:
        """The C expression for a dynamic array's length."""
        text, member = shape.length, shape.member
        siblings = {sibling.name: sibling for sibling in owner.members}
        if found := re.fullmatch(r"(\w+)->(\w+)", text):
            if found[1] not in siblings:
                raise RegistryError(f"{member.where}: {member.name}: its length {text} is not known")
            pointer = f"{owner.pointer}->{found[1]}"
            return f"({pointer} ? {pointer}->{found[2]} : 0)"
        if text in siblings:
            pointer = f"{owner.pointer}->{text}"
            return f"({pointer} ? *{pointer} : 0)" if siblings[text].pointers else pointer
        unknown = [
            word for word in re.findall(r"[A-Za-z_]\w*", text) if word not in siblings and not word.startswith("VK_")
        ]
        if unknown or not re.fullmatch(r"[\w\s()+*/-]+", text):
            raise RegistryError(f"{member.where}: {member.name}: its length {text} is not known")

        def replace(match: re.Match[str]) -> str:
            sibling = siblings.get(match[0])
            if sibling is None:
                return match[0]
            narrow = "" if self.width(Shape.of(self.venus, sibling)) == 8 else "(uint32_t)"
            return f"(uint64_t){narrow}{owner.pointer}->{match[0]}"

        return re.sub(r"[A-Za-z_]\w*", replace, text)

    def union_cases(self, union: Type) -> list[tuple[str, Shape]]:
        """The tags that may be sent, as C, with the member each stands for."""
        shapes = self.shapes(union)
        if union.name in UNION_MEMBERS:
            index = UNION_MEMBERS[union.name]
            return [(str(index), shapes[index])]
        cases = [(tag, shape) for shape in shapes for tag in shape.member.selection]
        if not cases:
            raise RegistryError(f"{union.where}: {union.name}: which member is sent is not known")
        return cases

    def is_selected(self, union: Type) -> bool:
        """A sibling of the union says which member is used."""
        return union.name not in UNION_MEMBERS
