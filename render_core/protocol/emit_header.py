# SPDX-License-Identifier: Apache-2.0
"""venus_gen.h: what the generated code offers to the rest of the core."""

from __future__ import annotations

from collections.abc import Iterator

from registry import Command, Member, Type
from shape import Kind, Shape
from venus import Venus, WireCommand

HEAD = """\
/* SPDX-License-Identifier: Apache-2.0
 * Made by render_core/protocol/generate.py from {source}: not to be edited. */
"""

INTRODUCTION = """
#ifndef RC_VENUS_GEN_H
#define RC_VENUS_GEN_H

#include "decode/wire.h"
{mesa}
struct rc_vn_stream;

/* Commands by their number on the wire. */
"""

ARGUMENTS = """
/* ---- a command's parameters, as decoded; the executor fills what they point to ----
 * Input handles are the host's; NAME_object is what the id named (NULL: the id was 0). A poisoned object's handle is 0.
 * Output handles are the ids that the client chose, and stay that. Memory is the decoder's, until the next command. */
"""

FUNCTIONS = """
/* rc_vn_decode_*: read the parameters behind the command's number and flags; dec->error says whether they are right.
 * rc_vn_encode_*_reply: write the whole reply. rc_vn_execute_*: hand-written (executor.toml) or generated. */
"""

TABLES = """
/* VK_HEADER_VERSION_COMPLETE of the registry that this was made from. */
extern const uint32_t rc_vn_registry_version;
/* "vkCreateBuffer"; NULL: there is no command of this number. Also for those that are not decoded. */
const char *rc_vn_command_name(uint32_t command);

/* The extensions that clients can speak of. */
struct rc_vn_extension {
	uint32_t number;
	const char *name;
	uint32_t spec_version; /* that clients' encoders know */
	bool in_registry;      /* its structs are decoded here */
};
extern const struct rc_vn_extension rc_vn_extensions[];
extern const uint32_t rc_vn_extension_count;
/* For the capset: bit N for extension number N in_registry; bit 0 makes the mask valid. */
extern const uint32_t rc_vn_extension_mask[32];

/* Read the command's parameters at decoder->cursor, execute it, and write its reply to `enc` when `reply` is set. What
 * is wrong ends in rc_vn_stream_fail(). */
void rc_vn_dispatch(struct rc_vn_stream *stream, uint32_t command, bool reply, struct rc_vn_encoder *enc);

#endif
"""


def comment_source(venus: Venus) -> str:
    """What the files' first line says they were made from."""
    return f"Vulkan's registry, version {venus.registry.header_version}"


def mesa_structs(venus: Venus) -> Iterator[str]:
    """Definitions that vulkan.h lacks."""
    ours = [extension for extension in venus.registry.extensions.values() if extension.number in (384, 385)]
    for extension in ours:
        for block in extension.requires:
            for enum in block.enums:
                value = 1000000000 + (extension.number - 1) * 1000 + int(enum.get("offset", "0"))
                if enum.get("extends") == "VkStructureType":
                    yield f"#define {enum.get('name')} ((VkStructureType){value})\n"
    for extension in ours:
        for block in extension.requires:
            for name in block.types:
                registered = venus.registry.type_of(name)
                if registered and registered.category == "bitmask":
                    yield f"typedef {registered.base} {name};\n"
                elif registered:
                    yield struct_definition(registered)


def struct_definition(struct: Type) -> str:
    """A struct as C has it."""
    members = "".join(f"\t{member.declaration};\n" for member in struct.members)
    return f"typedef struct {struct.name} {{\n{members}}} {struct.name};\n"


def _argument_lines(param: Member, shape: Shape) -> Iterator[str]:
    declaration = param.declaration
    if param.dims:
        declaration = declaration.removeprefix("const ")
    yield declaration
    if shape.kind is Kind.HANDLE and not shape.output:
        if shape.is_array:
            yield f"struct rc_vn_object **{param.name}_objects"
        else:
            yield f"struct rc_vn_object *{param.name}_object"


def arguments(venus: Venus, wire: WireCommand, command: Command) -> str:
    """The struct of one command's parameters."""
    lines = [line for param in command.params for line in _argument_lines(param, Shape.of_param(venus, command, param))]
    if command.returns != "void":
        lines.append(f"{command.returns} ret")
    body = "".join(f"\t{line};\n" for line in lines)
    return f"/* {wire.number} {wire.name} */\nstruct rc_vn_{wire.short} {{\n{body}}};\n"


def functions(venus: Venus, level: str) -> list[str]:
    """The functions that are loaded at a level, without "vk", by name."""
    names = {wire.short for wire, command in venus.decoded if venus.level(command) == level}
    for name in venus.rules.functions:
        command = venus.registry.command_of(f"vk{name}")
        if command and venus.level(command) == level:
            names.add(name)
    return sorted(name for name in names if not name.endswith("MESA"))


def _function_struct(venus: Venus, level: str) -> str:
    members = "".join(f"\tPFN_vk{name} {name};\n" for name in functions(venus, level))
    return f"struct rc_vn_{level}_functions {{\n{members}}};\n"


def emit_header(venus: Venus) -> str:
    """The file's text."""
    out = [HEAD.format(source=comment_source(venus)), INTRODUCTION.format(mesa='#include "venus_mesa_gen.h"\n')]
    out.append("enum rc_vn_command {\n")
    out += [f"\tRC_VN_{wire.short} = {wire.number},\n" for wire in venus.commands]
    out.append("};\n")
    out.append(ARGUMENTS)
    out += [arguments(venus, wire, command) + "\n" for wire, command in venus.decoded]
    out.append(FUNCTIONS)
    for wire, _command in venus.decoded:
        name = wire.short
        out.append(f"void rc_vn_decode_{name}(struct rc_vn_decoder *dec, struct rc_vn_{name} *args);\n")
        out.append(f"void rc_vn_encode_{name}_reply(struct rc_vn_encoder *enc, const struct rc_vn_{name} *args);\n")
        out.append(f"void rc_vn_execute_{name}(struct rc_vn_stream *stream, struct rc_vn_{name} *args);\n")
    out.append(
        "\n/* ---- the host's functions; NULL where the driver has none under any of a command's names ---- */\n"
    )
    out.append(_function_struct(venus, "instance") + "\n" + _function_struct(venus, "device"))
    out.append(
        "\nvoid rc_vn_load_instance_functions(\n\tstruct rc_vn_instance_functions *vk, PFN_vkGetInstanceProcAddr get, "
        "VkInstance instance);\n"
        "void rc_vn_load_device_functions(\n\tstruct rc_vn_device_functions *vk, PFN_vkGetDeviceProcAddr get, "
        "VkDevice device);\n"
    )
    out.append(TABLES)
    return "".join(out)


def emit_mesa_header(venus: Venus) -> str:
    """venus_mesa_gen.h's text."""
    return (
        HEAD.format(source="mesa.xml")
        + "#ifndef RC_VENUS_MESA_GEN_H\n#define RC_VENUS_MESA_GEN_H\n\n"
        + "#include <stddef.h>\n\n#define VK_NO_PROTOTYPES\n"
        + "#include <vulkan/vulkan.h>\n\n"
        + "".join(mesa_structs(venus))
        + "\n#endif\n"
    )
