# SPDX-License-Identifier: Apache-2.0
"""venus_test_gen.[ch]: the client's half of the wire format, for tests: requests written, replies read."""

from __future__ import annotations

from emit_decode import Decoder
from emit_encode import Encoder
from layout import Layout, Owner
from registry import Command
from shape import Count, Kind, Shape
from text import Text
from venus import Venus, WireCommand

HEADER = """\
#ifndef RC_VENUS_TEST_GEN_H
#define RC_VENUS_TEST_GEN_H

#include "venus_gen.h"

/* A command's functions; `args` is its struct rc_vn_NAME of `size` bytes. Replies are read into their request's. */
struct rc_vn_test_command {
	uint32_t number;
	const char *name;
	size_t size;
	void (*decode)(struct rc_vn_decoder *dec, void *args);
	void (*encode_request)(struct rc_vn_encoder *enc, const void *args);
	void (*decode_reply)(struct rc_vn_decoder *dec, void *args);
	void (*encode_reply)(struct rc_vn_encoder *enc, const void *args);
};
extern const struct rc_vn_test_command rc_vn_test_commands[];
extern const uint32_t rc_vn_test_command_count;

#endif
"""


class ReplyDecoder(Decoder):
    """Reads what a reply holds."""

    def output(self, shape: Shape, owner: Owner) -> None:
        """Read an output parameter whole."""
        text, member = self.text, shape.member
        field, place = owner.field(member), f"args->{member.name}"
        text(f"{place} = NULL;")
        if shape.count is Count.POINTER:
            with text.block(f"if (rc_vn_get_pointer(dec, {field}))"):
                text(f"{place} = rc_vn_get_memory(dec, 1, sizeof(*{place}), {field});")
                with text.block(f"if ({place})"):
                    self._output_element(shape, owner, f"{place}[0]", field)
            return
        with text.block():
            expected = self.layout.expected(owner, shape)
            text(f"size_t count = rc_vn_get_count(dec, {expected}, {self.layout.element_size(shape)}, {field});")
            with text.block("if (count)"):
                size = "1" if shape.kind is Kind.BYTES else f"sizeof(*{place})"
                text(f"{place} = rc_vn_get_memory(dec, count, {size}, {field});")
                if shape.kind is Kind.BYTES:
                    with text.block(f"if ({place})"):
                        text(f"rc_vn_get_byte_array(dec, {place}, count, {field});")
                else:
                    with text.block(f"for (size_t i = 0; {place} && i < count; i++)"):
                        self._output_element(shape, owner, f"{place}[i]", field)

    def _output_element(self, shape: Shape, owner: Owner, target: str, field: str) -> None:
        if shape.kind is Kind.HANDLE:
            self.text(f"{target} = {self.handle(shape, owner, partial=True)};")
        elif shape.kind is Kind.SCALAR:
            self.text(f"{target} = {self.scalar(shape, field)};")
        else:
            self.text(self.compound(shape, owner, f"&{target}", partial=False))

    def reply(self, wire: WireCommand, command: Command) -> None:
        """Write the function that reads a command's reply."""
        shapes = [shape for shape in self.layout.param_shapes(command) if shape.output]
        for shape in shapes:
            self.need(shape, partial=False)
        text, owner = self.text, Owner("", "args", command.params)
        head = f"static void reply_{wire.short}(struct rc_vn_decoder *dec, void *data)"
        with text.block(head):
            text(f"struct rc_vn_{wire.short} *args = data;")
            text("dec->device = NULL;")
            text(f'rc_vn_expect_u32(dec, {wire.number}, "command", "it is another command\'s reply");')
            if command.returns != "void":
                shape = Shape(
                    command.params[0],
                    Kind.SCALAR,
                    Count.ONE,
                    None,
                    self.layout.scalar(command.returns),
                    False,
                    False,
                    "",
                )
                reader = {"int32_t": "i32", "uint32_t": "u32", "uint64_t": "u64"}[shape.scalar]
                text(f'args->ret = ({command.returns})rc_vn_get_{reader}(dec, "ret");')
            for shape in shapes:
                self.output(shape, owner)
            text("(void)args;")
        text()


def _wrappers(text: Text, wire: WireCommand) -> None:
    name = wire.short
    for verb, call, const in (
        ("decode", f"rc_vn_decode_{name}", ""),
        ("encode", f"rc_vn_encode_{name}_reply", "const "),
    ):
        coder = "struct rc_vn_decoder *dec" if verb == "decode" else "struct rc_vn_encoder *enc"
        with text.block(f"static void {verb}_{name}({coder}, {const}void *args)"):
            text(f"{call}({coder[-3:]}, args);")
        text()


def emit_test(venus: Venus, head: str) -> dict[str, str]:
    """The files' texts."""
    encoder, decoder, table = Encoder(Layout(venus)), ReplyDecoder(Layout(venus)), Text()
    for wire, command in venus.decoded:
        encoder.request(wire, command)
        decoder.reply(wire, command)
        _wrappers(table, wire)
    with table.block("const struct rc_vn_test_command rc_vn_test_commands[] =", "};"):
        for wire, _command in venus.decoded:
            name = wire.short
            table(
                f'{{{wire.number}, "{wire.name}", sizeof(struct rc_vn_{name}), decode_{name}, request_{name}, '
                f"reply_{name}, encode_{name}}},"
            )
    size = "sizeof(rc_vn_test_commands) / sizeof(rc_vn_test_commands[0])"
    table(f"const uint32_t rc_vn_test_command_count = {size};")
    return {
        "venus_test_gen.h": head + HEADER,
        "venus_test_gen.c": f'{head}#include "venus_test_gen.h"\n\n{encoder.text}{decoder.text}{table}',
    }
