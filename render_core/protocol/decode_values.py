# SPDX-License-Identifier: Apache-2.0
"""What reads one member or parameter."""

from __future__ import annotations

import re

from layout import Layout, Owner
from registry import RegistryError, Type
from shape import Count, Kind, Shape
from text import Text
from venus import Venus

READERS = {
    "int32_t": "rc_vn_get_i32",
    "uint32_t": "rc_vn_get_u32",
    "float": "rc_vn_get_f32",
    "int64_t": "rc_vn_get_i64",
    "uint64_t": "rc_vn_get_u64",
    "double": "rc_vn_get_f64",
    "size_t": "rc_vn_get_u64",
}
# Members that Vulkan wants, and that clients leave out where other state makes them meaningless.
LENIENT = re.compile(r"VkGraphicsPipelineCreateInfo|VkPipeline\w*State\w*CreateInfo\w*")


class Values:
    """Writes the statements that read members and parameters into `text`."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.venus: Venus = layout.venus
        self.text = Text()
        self.packed: set[str] = set()  # structs that are copied, or used where they lie

    # ---- expressions ----

    def scalar(self, shape: Shape, field: str) -> str:
        """Reads one scalar."""
        if self.layout.is_bool(shape):
            return f"rc_vn_get_bool(dec, {field})"
        if shape.scalar in READERS:
            reader = f"{READERS[shape.scalar]}(dec, {field})"
            plain = shape.scalar == shape.member.type or shape.scalar not in ("int32_t", "uint64_t")
            return reader if plain else f"({shape.member.type}){reader}"
        return f"({shape.member.type})rc_vn_get_u32(dec, {field})"

    def handle(self, shape: Shape, owner: Owner, *, partial: bool) -> str:
        """Reads one handle of a struct: the host's; the id itself in outputs."""
        field, name = owner.field(shape.member), shape.member.type
        assert shape.type is not None
        if partial:
            return f"({name})(uintptr_t)rc_vn_get_u64(dec, {field})"
        if f"{owner.name}.{shape.member.name}" in self.venus.rules.keep_objects:
            return f"({name})rc_vn_get_any_object(dec, {shape.type.object_type}, {field})"
        verb = "need" if self.wanted_handle(shape, owner) else "get"
        return f"({name})rc_vn_{verb}_handle(dec, {shape.type.object_type}, {field})"

    def compound(self, shape: Shape, owner: Owner, target: str, *, partial: bool) -> str:
        """The call that reads one struct or union into `target`, a pointer."""
        assert shape.type is not None
        if not partial and self.layout.packed_width(shape.type):
            self.packed.add(shape.type.name)
            target = target.removeprefix("&")
            place = f"&{target}, sizeof({target})" if target != "element" else "element, sizeof(*element)"
            return f"rc_vn_get_block(dec, {place}, {owner.field(shape.member)});"
        suffix = "_partial" if partial else ""
        if shape.kind is Kind.UNION and self.layout.is_selected(shape.type):
            return f"get_{shape.type.name}{suffix}(dec, {target}, {owner.pointer}->{shape.member.selector});"
        return f"get_{shape.type.name}{suffix}(dec, {target});"

    def wanted(self, shape: Shape, owner: Owner) -> bool:
        """NULL is an error."""
        member = shape.member
        return not (member.optional or member.noautovalidity or LENIENT.fullmatch(owner.name))

    def wanted_handle(self, shape: Shape, owner: Owner) -> bool:
        """A handle in a struct or an array that is never 0: drivers look behind it."""
        member = shape.member
        optional = member.optional_elements if shape.is_array else member.optional
        lenient = shape.count is Count.FIXED or LENIENT.fullmatch(owner.name)
        return not (optional or member.noautovalidity or lenient)

    # ---- members and parameters that are sent whole ----

    def full(self, shape: Shape, owner: Owner) -> None:
        """Read a member or an input parameter."""
        member, text = shape.member, self.text
        field, place = owner.field(member), f"{owner.pointer}->{member.name}"
        if shape.kind is Kind.NULL:
            text(f"rc_vn_expect_null(dec, {field});")
        elif shape.count is Count.ONE:
            self._one(shape, owner, field, place)
        elif shape.count is Count.FIXED:
            self._fixed(shape, owner, field, place, partial=False)
        elif shape.count is Count.POINTER:
            self._pointer(shape, owner, field, place)
        else:
            self._dynamic(shape, owner, field, place)

    def _one(self, shape: Shape, owner: Owner, field: str, place: str) -> None:
        text = self.text
        if shape.kind is Kind.SCALAR:
            text(f"{place} = {self.scalar(shape, field)};")
        elif shape.kind is Kind.STRING:
            verb = "need" if self.wanted(shape, owner) else "get"
            text(f"{place} = rc_vn_{verb}_string(dec, {field});")
        elif shape.kind is Kind.HANDLE and not owner.name:
            self._handle_param(shape, field, place, owner)
        elif shape.kind is Kind.HANDLE:
            text(f"{place} = {self.handle(shape, owner, partial=False)};")
        else:
            text(self.compound(shape, owner, f"&{place}", partial=False))

    def _handle_param(self, shape: Shape, field: str, place: str, owner: Owner) -> None:
        assert shape.type is not None
        first = owner.members[0] is shape.member
        verb = "get_owner" if first else "need_object" if self.wanted(shape, owner) else "get_object"
        self.text(f"{place}_object = rc_vn_{verb}(dec, {shape.type.object_type}, {field});")
        self.text(f"{place} = ({shape.member.type})rc_vn_object_handle({place}_object);")

    def _fixed(self, shape: Shape, owner: Owner, field: str, place: str, *, partial: bool) -> None:
        text, length = self.text, shape.member.dims[0]
        text(f"rc_vn_expect_count(dec, {length}, {field});")
        if shape.kind is Kind.BYTES:
            text(f"rc_vn_get_byte_array(dec, {place}, {length}, {field});")
        elif not partial and self.layout.element_packed(shape):
            text(f"rc_vn_get_block(dec, {place}, sizeof({place}), {field});")
        else:
            with text.block(f"for (size_t i = 0; i < {length}; i++)"):
                self._element(shape, owner, f"{place}[i]", field, partial=partial)

    def _element(self, shape: Shape, owner: Owner, target: str, field: str, *, partial: bool) -> None:
        text = self.text
        if shape.kind is Kind.SCALAR:
            text(f"{target} = {self.scalar(shape, field)};")
        elif shape.kind is Kind.HANDLE:
            text(f"{target} = {self.handle(shape, owner, partial=partial)};")
        elif shape.kind is Kind.STRING:
            text(f"{target} = rc_vn_need_string(dec, {field});")
        else:
            text(self.compound(shape, owner, f"&{target}", partial=partial))

    def _pointer(self, shape: Shape, owner: Owner, field: str, place: str) -> None:
        text, name = self.text, shape.member.type
        verb = "need" if self.wanted(shape, owner) else "get"
        with text.block(f"if (rc_vn_{verb}_pointer(dec, {field}))"):
            align = self.layout.element_packed(shape)
            if align and shape.member.const:
                text(f"{place} = rc_vn_get_packed(dec, 1, sizeof(*{place}), {align}, {field});")
                return
            text(f"{name} *element = rc_vn_get_memory(dec, 1, sizeof(*element), {field});")
            with text.block("if (element)"):
                if shape.kind in (Kind.STRUCT, Kind.UNION):
                    text(self.compound(shape, owner, "element", partial=False))
                else:
                    self._element(shape, owner, "*element", field, partial=False)
                text(f"{place} = element;")

    def _count(self, shape: Shape, owner: Owner, field: str, *, partial: bool = False) -> None:
        """Declares `count`."""
        expected = self.layout.expected(owner, shape)
        if divided := re.fullmatch(r"(\w+) ?/ ?(\d+)", shape.length):
            with self.text.block(f"if ({owner.pointer}->{divided[1]} % {divided[2]})"):
                whole = next(member for member in owner.members if member.name == divided[1])
                self.text(f'rc_vn_decoder_fail(dec, {owner.field(whole)}, "it is no multiple of {divided[2]}");')
        size = self.layout.element_size(shape, partial=partial)
        if size:
            call = f"rc_vn_get_count(dec, {expected}, {size}, {field})"
        else:
            kind = "size" if shape.kind is Kind.BYTES else "count"
            call = f"rc_vn_get_output_{kind}(dec, {expected}, {field})"
        if self.wanted(shape, owner):
            self.text(f"size_t count = {call};")
            self.text(f"rc_vn_need_all(dec, count, {expected}, {field});")
        else:
            self.text(f"size_t count = {call};")

    def _dynamic(self, shape: Shape, owner: Owner, field: str, place: str) -> None:
        text, member = self.text, shape.member
        with text.block():
            self._count(shape, owner, field)
            align = self.layout.element_packed(shape)
            if shape.kind is Kind.BYTES and member.const:
                text(f"{place} = rc_vn_get_bytes(dec, count, {field});")
            elif align and member.const:
                text(f"{place} = rc_vn_get_packed(dec, count, sizeof(*{place}), {align}, {field});")
            elif shape.kind is Kind.HANDLE and not owner.name:
                self._handle_array_param(shape, owner, field, place)
            else:
                self._loop(shape, owner, field, place)

    def _loop(self, shape: Shape, owner: Owner, field: str, place: str) -> None:
        text = self.text
        name = "const char *" if shape.kind is Kind.STRING else f"{shape.member.type} "
        if shape.kind is Kind.BYTES:
            raise RegistryError(f"{shape.member.where}: {shape.member.name}: bytes that are not const")
        with text.block("if (count)"):
            text(f"{name}*elements = rc_vn_get_memory(dec, count, sizeof(*elements), {field});")
            with text.block("for (size_t i = 0; elements && i < count; i++)"):
                self._element(shape, owner, "elements[i]", field, partial=False)
            text(f"{place} = elements;")

    def _handle_array_param(self, shape: Shape, owner: Owner, field: str, place: str) -> None:
        assert shape.type is not None
        text, name = self.text, shape.member.type
        verb = "need" if self.wanted_handle(shape, owner) else "get"
        with text.block("if (count)"):
            text(f"{name} *elements = rc_vn_get_memory(dec, count, sizeof(*elements), {field});")
            text(f"struct rc_vn_object **objects = rc_vn_get_memory(dec, count, sizeof(*objects), {field});")
            with text.block("for (size_t i = 0; elements && objects && i < count; i++)"):
                text(f"objects[i] = rc_vn_{verb}_object(dec, {shape.type.object_type}, {field});")
                text(f"elements[i] = ({name})rc_vn_object_handle(objects[i]);")
            text(f"{place} = elements;")
            text(f"{place}_objects = objects;")

    # ---- what the command fills: only what says how much of it there is ----

    def partial(self, shape: Shape, owner: Owner, lengths: set[str]) -> None:
        """Read what is sent of an output's member, or of an output parameter."""
        member, text = shape.member, self.text
        field, place = owner.field(member), f"{owner.pointer}->{member.name}"
        if shape.count is Count.ONE:
            if shape.kind is Kind.SCALAR and member.name in lengths:
                text(f"{place} = {self.scalar(shape, field)};")
            elif shape.kind is Kind.HANDLE:
                text(f"{place} = {self.handle(shape, owner, partial=True)};")
            elif shape.kind is Kind.STRUCT and self.has_partial(shape):
                text(self.compound(shape, owner, f"&{place}", partial=True))
            elif shape.kind is Kind.STRING:
                raise RegistryError(f"{member.where}: {member.name}: strings to be filled are not known")
        elif shape.count is Count.FIXED:
            if shape.kind is Kind.HANDLE or self.has_partial(shape):
                self._fixed(shape, owner, field, place, partial=True)
            elif shape.kind is Kind.STRUCT:
                text(f"rc_vn_expect_count(dec, {member.dims[0]}, {field});")
        elif shape.count is Count.POINTER:
            self._output_pointer(shape, owner, field, place)
        else:
            self._output_array(shape, owner, field, place)

    def has_partial(self, shape: Shape) -> bool:
        """A struct of which something is sent although it is an output."""
        return shape.kind is Kind.STRUCT and shape.type is not None and self.struct_has_partial(shape.type)

    def struct_has_partial(self, struct: Type) -> bool:
        """See has_partial()."""
        lengths = self.layout.dynamic_lengths(struct)
        return any(
            shape.kind in (Kind.STYPE, Kind.CHAIN, Kind.HANDLE)
            or shape.count in (Count.POINTER, Count.DYNAMIC)
            or (shape.kind is Kind.SCALAR and shape.member.name in lengths)
            or (shape.kind is Kind.STRUCT and (shape.count is Count.FIXED or self.has_partial(shape)))
            for shape in self.layout.shapes(struct)
        )

    def _output_pointer(self, shape: Shape, owner: Owner, field: str, place: str) -> None:
        text = self.text
        verb = "need" if self.wanted(shape, owner) else "get"
        with text.block(f"if (rc_vn_{verb}_pointer(dec, {field}))"):
            text(f"{place} = rc_vn_get_memory(dec, 1, sizeof(*{place}), {field});")
            if shape.in_out or shape.kind is Kind.HANDLE or self.has_partial(shape):
                with text.block(f"if ({place})"):
                    if shape.kind is Kind.STRUCT:
                        text(self.compound(shape, owner, place, partial=True))
                    else:
                        self._element(shape, owner, f"*{place}", field, partial=True)

    def _output_array(self, shape: Shape, owner: Owner, field: str, place: str) -> None:
        text = self.text
        with text.block():
            self._count(shape, owner, field, partial=True)
            with text.block("if (count)"):
                size = "1" if shape.kind is Kind.BYTES else f"sizeof(*{place})"
                text(f"{place} = rc_vn_get_memory(dec, count, {size}, {field});")
                if shape.kind is Kind.HANDLE or self.has_partial(shape):
                    with text.block(f"for (size_t i = 0; {place} && i < count; i++)"):
                        self._element(shape, owner, f"{place}[i]", field, partial=True)
