# SPDX-License-Identifier: Apache-2.0
"""How a member or a parameter travels: what it is, how many there are of it, in which direction."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import cache

from registry import Command, Member, RegistryError, Type
from venus import SCALARS, Venus


class Kind(Enum):
    """What one element is."""

    SCALAR = "scalar"
    HANDLE = "handle"
    STRUCT = "struct"
    UNION = "union"
    BYTES = "bytes"  # in arrays only: packed, padded to 4
    STRING = "string"
    NULL = "null"  # a pointer that must be NULL: allocators
    CHAIN = "chain"  # pNext
    STYPE = "stype"


class Count(Enum):
    """How many elements."""

    ONE = "one"  # the value itself
    POINTER = "pointer"  # NULL or one
    DYNAMIC = "dynamic"  # by a sibling's value
    FIXED = "fixed"  # T[N]


# The elements of arrays with these are packed bytes.
BYTE_TYPES = frozenset({"void", "char", "uint8_t", "int8_t"})
WIDE = frozenset({"int64_t", "uint64_t", "double", "size_t"})


@cache
def _scalar_cached(venus: Venus, name: str) -> str:
    registered = venus.registry.type_of(name)
    if name in SCALARS:
        return name
    if registered is None:
        raise RegistryError(f"{name}: no such type")
    if registered.category == "enum":
        return "uint64_t" if registered.name in venus.registry.wide_enums else "int32_t"
    if registered.category in ("bitmask", "basetype") and registered.base:
        return _scalar_cached(venus, registered.base)
    raise RegistryError(f"{registered.where}: {name} is no scalar")


def scalar_of(venus: Venus, name: str) -> str:
    """The C scalar that a type comes down to: "uint32_t" for VkBool32."""
    return _scalar_cached(venus, name)


@dataclass(frozen=True, slots=True)
class Shape:
    """How one member or parameter travels."""

    member: Member
    kind: Kind
    count: Count
    type: Type | None  # handles, structs, unions
    scalar: str  # scalars: the underlying C type
    output: bool  # parameters: the command writes it
    in_out: bool  # an output that is sent with its value: the count of an array
    length: str  # DYNAMIC: the expression of vk.xml

    @property
    def is_array(self) -> bool:
        """More than one element."""
        return self.count in (Count.DYNAMIC, Count.FIXED)

    @property
    def element_bytes(self) -> bool:
        """An array of packed bytes."""
        return self.kind is Kind.BYTES

    @staticmethod
    def of(venus: Venus, member: Member, *, output: bool = False, in_out: bool = False) -> Shape:
        """The shape of a struct's member, or of a parameter whose direction is given."""
        registered = venus.registry.type_of(member.type)
        lens = member.lens
        strings = bool(lens) and lens[-1] == "null-terminated" and not member.dims
        if member.name == "pNext" and member.type == "void":
            return Shape(member, Kind.CHAIN, Count.POINTER, None, "", output, in_out, "")
        if member.name == "sType" and member.values:
            return Shape(member, Kind.STYPE, Count.ONE, None, "", output, in_out, "")
        if member.type == "VkAllocationCallbacks":
            return Shape(member, Kind.NULL, Count.POINTER, None, "", output, in_out, "")
        if strings:
            count = Count.DYNAMIC if len(lens) > 1 else Count.ONE
            return Shape(member, Kind.STRING, count, None, "", output, in_out, lens[0] if len(lens) > 1 else "")
        kind, scalar = Kind.SCALAR, ""
        if registered and registered.category == "handle":
            kind = Kind.HANDLE
        elif registered and registered.category == "struct":
            kind = Kind.STRUCT
        elif registered and registered.category == "union":
            kind = Kind.UNION
        elif member.type != "void":
            scalar = scalar_of(venus, member.type)
        count, length = Count.ONE, ""
        if member.dims:
            count = Count.FIXED
        elif member.pointers:
            dynamic = bool(lens) and lens[0] != "1"
            count, length = (Count.DYNAMIC, lens[0]) if dynamic else (Count.POINTER, "")
        if member.pointers > 2 or (member.pointers == 2 and not strings):
            raise RegistryError(f"{member.where}: {member.name}: pointers to pointers are not known")
        if len(member.dims) > 1:
            raise RegistryError(f"{member.where}: {member.name}: arrays of arrays are not known")
        if count in (Count.DYNAMIC, Count.FIXED) and (member.type in BYTE_TYPES or scalar in BYTE_TYPES):
            kind = Kind.BYTES
        type_ = registered if kind in (Kind.HANDLE, Kind.STRUCT, Kind.UNION) else None
        return Shape(member, kind, count, type_, scalar, output, in_out, length)

    @staticmethod
    def of_param(venus: Venus, command: Command, param: Member) -> Shape:
        """The shape of a command's parameter."""
        output = param.pointers > 0 and not param.const and param.type != "VkAllocationCallbacks"
        named = any(param.name in re.findall(r"\w+", length) for other in command.params for length in other.lens)
        return Shape.of(venus, param, output=output, in_out=output and named)
