# SPDX-License-Identifier: Apache-2.0
"""venus_decode_gen.c: bytes to parameters."""

from __future__ import annotations

from decode_values import Values
from layout import Layout, Owner
from registry import Command, Type
from shape import Count, Kind, Shape
from venus import Venus, WireCommand


class Decoder(Values):
    """Writes the functions that read structs, each once, those it needs before it."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self._done: set[tuple[str, str]] = set()

    def need(self, shape: Shape, *, partial: bool) -> None:
        """Write what reads a shape's struct or union, unless it is there already."""
        if shape.type is None or shape.kind not in (Kind.STRUCT, Kind.UNION):
            return
        if partial and not self.has_partial(shape):
            return
        if not partial and self.layout.packed_width(shape.type):
            self.packed.add(shape.type.name)
            return
        key = (shape.type.name, "partial" if partial else "full")
        if key in self._done:
            return
        self._done.add(key)
        if shape.kind is Kind.UNION:
            self._union(shape.type)
        else:
            self._struct(shape.type, partial=partial)

    def _union(self, union: Type) -> None:
        for _tag, shape in self.layout.union_cases(union):
            self.need(shape, partial=False)
        owner = Owner(union.name, "value", union.members)
        field, text = f'"{union.name}"', self.text
        cases = self.layout.union_cases(union)
        selected = ", int32_t selector" if self.layout.is_selected(union) else ""
        with text.block(f"static void get_{union.name}(struct rc_vn_decoder *dec, {union.name} *value{selected})"):
            if not selected:
                tag, shape = cases[0]
                text(
                    f'rc_vn_expect_u32(dec, {tag}, {field}, "the union holds another member than the protocol sends");'
                )
                self.full(shape, owner)
            else:
                text(f'rc_vn_expect_u32(dec, (uint32_t)selector, {field}, "it is not the selected member");')
                with text.block("switch (selector)"):
                    for tag, shape in cases:
                        text(f"case {tag}:")
                        with text.indented():
                            self.full(shape, owner)
                            text("break;")
                    text("default:")
                    with text.indented():
                        text(f'rc_vn_decoder_fail(dec, {field}, "there is no such member");')
        text()

    def _struct(self, struct: Type, *, partial: bool) -> None:
        chain = self.venus.chain_of(struct) if struct.stype else ()
        for chained in chain:
            for shape in self.layout.own(chained):
                self.need(shape, partial=partial)
        for shape in self.layout.own(struct):
            self.need(shape, partial=partial)
        for chained in chain:
            self._members(chained, partial=partial)
        if struct.stype:
            self._members(struct, partial=partial)
        suffix = "_partial" if partial else ""
        if chain:
            self._chain(struct, chain, partial=partial)
        text, name = self.text, struct.name
        with text.block(f"static void get_{name}{suffix}(struct rc_vn_decoder *dec, {name} *value)"):
            if struct.stype:
                text(f"value->sType = {struct.stype};")
                text(f'rc_vn_expect_u32(dec, (uint32_t){struct.stype}, "{name}.sType", "it is of another struct");')
                if chain:
                    text(f"uint64_t seen[{(len(chain) + 63) // 64}] = {{0}};")
                    text(f"value->pNext = get_{name}{suffix}_chain(dec, seen);")
                else:
                    text(f'rc_vn_expect_null(dec, "{name}.pNext");')
                if self._has_members(struct, partial=partial):
                    text(f"get_{name}{suffix}_members(dec, value);")
            else:
                self._body(struct, partial=partial)
        text()

    def _has_members(self, struct: Type, *, partial: bool) -> bool:
        if not partial:
            return bool(self.layout.own(struct))
        lengths = self.layout.dynamic_lengths(struct)
        return any(
            shape.kind is Kind.HANDLE
            or shape.count in (Count.POINTER, Count.DYNAMIC)
            or (shape.kind is Kind.SCALAR and shape.member.name in lengths)
            or (shape.kind is Kind.STRUCT and (shape.count is Count.FIXED or self.has_partial(shape)))
            for shape in self.layout.own(struct)
        )

    def _members(self, struct: Type, *, partial: bool) -> None:
        key = (struct.name, "partial members" if partial else "members")
        if key in self._done or not self._has_members(struct, partial=partial):
            return
        self._done.add(key)
        suffix = "_partial" if partial else ""
        head = f"static void get_{struct.name}{suffix}_members(struct rc_vn_decoder *dec, {struct.name} *value)"
        with self.text.block(head):
            self._body(struct, partial=partial)
        self.text()

    def _body(self, struct: Type, *, partial: bool) -> None:
        owner = Owner(struct.name, "value", struct.members)
        lengths = self.layout.dynamic_lengths(struct)
        start = self.text.position
        for shape in self.layout.own(struct):
            if partial:
                self.partial(shape, owner, lengths)
            else:
                self.full(shape, owner)
        if not self.text.mentions("value->", start):
            self.text("(void)value;")

    def _chain(self, struct: Type, chain: tuple[Type, ...], *, partial: bool) -> None:
        text, suffix = self.text, "_partial" if partial else ""
        name = f"get_{struct.name}{suffix}_chain"
        field = f'"{struct.name}.pNext"'
        with text.block(f"static void *{name}(struct rc_vn_decoder *dec, uint64_t *seen)"):
            text("int32_t type;")
            with text.block(f"if (!rc_vn_get_chain(dec, &type, {field}))"):
                text("return NULL;")
            text("void *chained = NULL;")
            text("dec->depth++;")
            with text.block("switch (type)"):
                for index, struct_in in enumerate(chain):
                    text(f"case {struct_in.stype}: {{")
                    with text.indented():
                        text(
                            f"{struct_in.name} *value = rc_vn_get_chained(dec, seen, {index}, sizeof(*value), {field});"
                        )
                        with text.block("if (value)"):
                            text(f"value->sType = {struct_in.stype};")
                            text(f"value->pNext = {name}(dec, seen);")
                            if self._has_members(struct_in, partial=partial):
                                text(f"get_{struct_in.name}{suffix}_members(dec, value);")
                        text("chained = value;")
                        text("break;")
                    text("}")
                text("default:")
                with text.indented():
                    text(f'rc_vn_decoder_fail(dec, {field}, "a struct is in the chain that is not known there");')
            text("dec->depth--;")
            text("return chained;")
        text()

    def command(self, wire: WireCommand, command: Command) -> None:
        """Write the function that reads a command's parameters."""
        shapes = self.layout.param_shapes(command)
        for shape in shapes:
            self.need(shape, partial=shape.output)
        owner = Owner("", "args", command.params)
        text = self.text
        head = f"void rc_vn_decode_{wire.short}(struct rc_vn_decoder *dec, struct rc_vn_{wire.short} *args)"
        with text.block(head):
            text(f"*args = (struct rc_vn_{wire.short}){{0}};")
            first = shapes[0] if shapes else None
            if first is None or first.kind is not Kind.HANDLE or first.count is not Count.ONE:
                text("dec->device = NULL;")
            for shape in shapes:
                if shape.output:
                    self.partial(shape, owner, set())
                else:
                    self.full(shape, owner)
            for param in command.params:
                if param.stride:
                    with text.block(
                        f"if (args->{param.lens[0]} > 1 && args->{param.stride} != sizeof(*args->{param.name}))"
                    ):
                        text(f'rc_vn_decoder_fail(dec, "{param.stride}", "the elements are packed on the wire");')
        text()


def emit_decode(venus: Venus, head: str) -> str:
    """The file's text."""
    decoder = Decoder(Layout(venus))
    for wire, command in venus.decoded:
        decoder.command(wire, command)
    sizes = "".join(
        f'_Static_assert(sizeof({name}) == {decoder.layout.size(venus.registry.types[name])}, "as on the wire");\n'
        for name in sorted(decoder.packed)
    )
    return f'{head}#include "venus_gen.h"\n\n{sizes}\n{decoder.text}'
