# SPDX-License-Identifier: Apache-2.0
"""venus_encode_gen.c: what a command has filled, to the bytes of its reply. Also requests, for tests."""

from __future__ import annotations

from emit_decode import Decoder
from layout import Layout, Owner
from registry import Command, Type
from shape import Count, Kind, Shape
from text import Text
from venus import Venus, WireCommand

WRITERS = {
    "int32_t": "rc_vn_put_i32",
    "uint32_t": "rc_vn_put_u32",
    "float": "rc_vn_put_f32",
    "int64_t": "rc_vn_put_i64",
    "uint64_t": "rc_vn_put_u64",
    "double": "rc_vn_put_f64",
    "size_t": "rc_vn_put_u64",
}


class Encoder:
    """Writes the functions that write structs, each once, those it needs before it."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.venus: Venus = layout.venus
        self.text = Text()
        self._done: set[tuple[str, str]] = set()
        self._rules = Decoder(layout)  # for what is sent of outputs

    def element(self, shape: Shape, owner: Owner, place: str, *, partial: bool) -> None:
        """Write one element; `place` is an lvalue."""
        text = self.text
        if shape.kind is Kind.SCALAR:
            text(f"{WRITERS.get(shape.scalar, 'rc_vn_put_u32')}(enc, {place});")
        elif shape.kind is Kind.HANDLE:
            if not partial and f"{owner.name}.{shape.member.name}" in self.venus.rules.keep_objects:
                text(f"rc_vn_put_u64(enc, {place} ? ((const struct rc_vn_object *){place})->id : 0);")
            else:
                text(f"rc_vn_put_u64(enc, (uint64_t)(uintptr_t){place});")
        elif shape.kind is Kind.STRING:
            text(f"rc_vn_put_string(enc, {place});")
        elif shape.type is not None and not partial and self.layout.packed_width(shape.type):
            text(f"rc_vn_put_block(enc, &{place}, sizeof({place}));")
        elif shape.type is not None:
            suffix = "_partial" if partial else ""
            if shape.kind is Kind.UNION and self.layout.is_selected(shape.type):
                selector = f"{owner.pointer}->{shape.member.selector}"
                text(f"put_{shape.type.name}{suffix}(enc, &{place}, {selector});")
            else:
                text(f"put_{shape.type.name}{suffix}(enc, &{place});")

    def full(self, shape: Shape, owner: Owner) -> None:
        """Write a member or a parameter whole."""
        member, text = shape.member, self.text
        place = f"{owner.pointer}->{member.name}"
        if shape.kind is Kind.NULL:
            text("rc_vn_put_u64(enc, 0);")
        elif shape.count is Count.ONE:
            self.element(shape, owner, place, partial=False)
        elif shape.count is Count.POINTER:
            with text.block(f"if (rc_vn_put_pointer(enc, {place}))"):
                target = f"{place}[0]" if shape.type is not None and shape.kind is not Kind.HANDLE else f"*{place}"
                self.element(shape, owner, target, partial=False)
        elif shape.count is Count.FIXED:
            text(f"rc_vn_put_u64(enc, {member.dims[0]});")
            self._elements(shape, owner, place, member.dims[0], partial=False)
        else:
            expected = self.layout.expected(owner, shape)
            with text.block():
                text(f"size_t count = rc_vn_put_count(enc, {place}, {expected});")
                self._elements(shape, owner, place, "count", partial=False)

    def _elements(self, shape: Shape, owner: Owner, place: str, count: str, *, partial: bool) -> None:
        text = self.text
        if shape.kind is Kind.BYTES:
            text(f"rc_vn_put_bytes(enc, {place}, {count});")
        elif not partial and (self.layout.element_packed(shape) or self._wide_enough(shape)):
            text(f"rc_vn_put_block(enc, {place}, {count} * sizeof(*{place}));")
        else:
            with text.block(f"for (size_t i = 0; i < {count}; i++)"):
                self.element(shape, owner, f"{place}[i]", partial=partial)

    def _wide_enough(self, shape: Shape) -> bool:
        return shape.kind is Kind.SCALAR and self.layout.width(shape) >= 4

    def partial(self, shape: Shape, owner: Owner, lengths: set[str]) -> None:
        """Write what is sent of an output in a request."""
        member, text = shape.member, self.text
        place = f"{owner.pointer}->{member.name}"
        sent = shape.in_out or shape.kind is Kind.HANDLE or self._rules.has_partial(shape)
        if shape.count is Count.ONE:
            if member.name in lengths or shape.kind is Kind.HANDLE or self._rules.has_partial(shape):
                self.element(shape, owner, place, partial=True)
        elif shape.count is Count.FIXED:
            if sent or shape.kind is Kind.STRUCT:
                text(f"rc_vn_put_u64(enc, {member.dims[0]});")
            if sent:
                self._elements(shape, owner, place, member.dims[0], partial=True)
        elif shape.count is Count.POINTER:
            text(f"rc_vn_put_pointer(enc, {place});")
            if sent:
                with text.block(f"if ({place})"):
                    target = f"{place}[0]" if shape.kind is Kind.STRUCT else f"*{place}"
                    self.element(shape, owner, target, partial=True)
        else:
            expected = self.layout.expected(owner, shape)
            with text.block():
                call = f"rc_vn_put_count(enc, {place}, {expected})"
                text(f"size_t count = {call};" if sent else f"{call};")
                if sent:
                    self._elements(shape, owner, place, "count", partial=True)

    def need(self, shape: Shape, *, partial: bool) -> None:
        """Write what writes a shape's struct or union, unless it is there already."""
        if shape.type is None or shape.kind not in (Kind.STRUCT, Kind.UNION):
            return
        if partial and not self._rules.has_partial(shape):
            return
        if not partial and self.layout.packed_width(shape.type):
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
        cases = self.layout.union_cases(union)
        for _tag, shape in cases:
            self.need(shape, partial=False)
        owner = Owner(union.name, "value", union.members)
        text = self.text
        selected = ", int32_t selector" if self.layout.is_selected(union) else ""
        head = f"static void put_{union.name}(struct rc_vn_encoder *enc, const {union.name} *value{selected})"
        with text.block(head):
            if not selected:
                text(f"rc_vn_put_u32(enc, {cases[0][0]});")
                self.full(cases[0][1], owner)
            else:
                text("rc_vn_put_i32(enc, selector);")
                with text.block("switch (selector)"):
                    for tag, shape in cases:
                        text(f"case {tag}:")
                        with text.indented():
                            self.full(shape, owner)
                            text("break;")
                    text("default:")
                    with text.indented():
                        text("break;")
        text()

    def _struct(self, struct: Type, *, partial: bool) -> None:
        chain = self.venus.chain_of(struct) if struct.stype else ()
        for inner in (struct, *chain):
            for shape in self.layout.own(inner):
                self.need(shape, partial=partial)
        for inner in (struct, *chain):
            if inner.stype:
                self._members(inner, partial=partial)
        suffix = "_partial" if partial else ""
        name, text = struct.name, self.text
        if chain:
            self._chain(struct, chain, partial=partial)
        with text.block(f"static void put_{name}{suffix}(struct rc_vn_encoder *enc, const {name} *value)"):
            if struct.stype:
                text("rc_vn_put_i32(enc, value->sType);")
                if chain:
                    text(f"put_{name}{suffix}_chain(enc, value->pNext);")
                else:
                    text("rc_vn_put_u64(enc, 0);")
                text(f"put_{name}{suffix}_members(enc, value);")
            else:
                self._body(struct, partial=partial)
        text()

    def _members(self, struct: Type, *, partial: bool) -> None:
        key = (struct.name, "partial members" if partial else "members")
        if key in self._done:
            return
        self._done.add(key)
        suffix = "_partial" if partial else ""
        head = f"static void put_{struct.name}{suffix}_members(struct rc_vn_encoder *enc, const {struct.name} *value)"
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
        for word in ("enc", "value"):
            if not self.text.mentions(word, start):
                self.text(f"(void){word};")

    def _chain(self, struct: Type, chain: tuple[Type, ...], *, partial: bool) -> None:
        text, suffix = self.text, "_partial" if partial else ""
        name = f"put_{struct.name}{suffix}_chain"
        with text.block(f"static void {name}(struct rc_vn_encoder *enc, const void *chained)"):
            text("const VkBaseInStructure *base = chained;")
            with text.block("if (!rc_vn_put_pointer(enc, base))"):
                text("return;")
            text("rc_vn_put_i32(enc, base->sType);")
            text(f"{name}(enc, base->pNext);")
            with text.block("switch ((int32_t)base->sType)"):
                for inner in chain:
                    text(f"case {inner.stype}:")
                    with text.indented():
                        text(f"put_{inner.name}{suffix}_members(enc, chained);")
                        text("break;")
                text("default:")
                with text.indented():
                    text("break;")
        text()

    def reply(self, wire: WireCommand, command: Command) -> None:
        """Write the function that writes a command's reply."""
        shapes = [shape for shape in self.layout.param_shapes(command) if shape.output]
        for shape in shapes:
            self.need(shape, partial=False)
        owner = Owner("", "args", command.params)
        text = self.text
        head = f"void rc_vn_encode_{wire.short}_reply(struct rc_vn_encoder *enc, const struct rc_vn_{wire.short} *args)"
        with text.block(head):
            start = text.position
            text(f"rc_vn_put_i32(enc, {wire.number});")
            if command.returns != "void":
                self.returned(command)
            for shape in shapes:
                self.full(shape, owner)
            if not text.mentions("args", start):
                text("(void)args;")
        text()

    def returned(self, command: Command) -> None:
        """Write the return value."""
        scalar = self.layout.scalar(command.returns)
        self.text(f"{WRITERS[scalar]}(enc, args->ret);")

    def request(self, wire: WireCommand, command: Command) -> None:
        """Write the function that writes a command as a client does."""
        shapes = self.layout.param_shapes(command)
        for shape in shapes:
            self.need(shape, partial=shape.output)
        owner = Owner("", "args", command.params)
        text = self.text
        head = f"static void request_{wire.short}(struct rc_vn_encoder *enc, const void *data)"
        with text.block(head):
            text(f"const struct rc_vn_{wire.short} *args = data;")
            start = text.position
            for shape in shapes:
                if shape.output:
                    self.partial(shape, owner, set())
                else:
                    self.full(shape, owner)
            for word in ("enc", "args"):
                if not text.mentions(word, start):
                    text(f"(void){word};")
        text()


def emit_encode(venus: Venus, head: str) -> str:
    """The file's text."""
    encoder = Encoder(Layout(venus))
    for wire, command in venus.decoded:
        encoder.reply(wire, command)
    return f'{head}#include "venus_gen.h"\n\n{encoder.text}'
