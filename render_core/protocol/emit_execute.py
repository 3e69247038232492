# SPDX-License-Identifier: Apache-2.0
"""venus_execute_gen.c: from a command's number to what executes it."""

from __future__ import annotations

import re

from registry import Command, Type
from shape import Count, Kind, Shape
from text import Text
from venus import LIMIT, State, Venus, WireCommand

INCLUDES = """\
#include "venus_gen.h"

#include "execute/venus/command.h"
#include "execute/venus/object.h"
#include "execute/venus/objects.h"
#include "execute/venus/query.h"
#include "execute/venus/stream.h"
#include "execute/venus/teardown.h"

/* Hand-written, and called from here:
 *   rc_vn_stream_fail()            stream.h
 *   rc_vn_object_remove()          object_table.h
 *   rc_vn_may_create()             object.h
 *   rc_vn_add_object()             object.h
 *   rc_vn_device_at_rest()         teardown.h
 *   rc_vn_command_buffer_record()  command.h
 *   rc_vn_command_buffer_poison()  command.h
 * and the rc_vn_execute_*() of executor.toml. */

"""

HELPERS = """\
static const struct rc_vn_device_functions *device_functions(const struct rc_vn_object *object) {
	return &rc_vn_from(rc_vn_device, object->device)->vk;
}

static void fail_missing(struct rc_vn_stream *stream) {
	rc_vn_stream_fail(stream, "command", "the device has no such function: its extension was not enabled");
}

/* False: the parameters were wrong, and the context has failed. */
static bool decoded(struct rc_vn_stream *stream) {
	if (__builtin_expect(!stream->decoder.error, true)) {
		return true;
	}
	rc_vn_stream_fail(stream, stream->decoder.error_field, "%s", stream->decoder.error);
	return false;
}

static bool may_reply(struct rc_vn_stream *stream, bool reply) {
	return reply && !atomic_load_explicit(&stream->context->failed, memory_order_relaxed);
}

"""

DISPATCH = """\
void rc_vn_dispatch(struct rc_vn_stream *stream, uint32_t command, bool reply, struct rc_vn_encoder *enc) {
	dispatcher *dispatch = command < sizeof(dispatchers) / sizeof(dispatchers[0]) ? dispatchers[command] : NULL;
	if (__builtin_expect(!dispatch, false)) {
		rc_vn_stream_fail(stream, "command",
			rc_vn_command_name(command) ? "it is not carried here: the extension or version that has it is not offered"
										: "there is no command of this number");
		return;
	}
	dispatch(stream, reply, enc);
}
"""


class Executors:
    """Writes the dispatcher and the executors that follow from the registry."""

    def __init__(self, venus: Venus) -> None:
        self.venus = venus
        self.text = Text()

    def kind(self, wire: WireCommand, command: Command) -> str:
        """ "hand", "refused", "record", "create", "destroy" or "call"."""
        if wire.state is not State.GENERATED:
            return "hand" if wire.state is State.HAND_WRITTEN else "refused"
        shapes = self._shapes(command)
        if command.params[0].type == "VkCommandBuffer" and wire.short.startswith("Cmd"):
            return "record"
        last = shapes[-1]
        if wire.short.startswith("Create") and last.output and last.kind is Kind.HANDLE and last.count is Count.POINTER:
            return "create"
        if wire.short.startswith("Destroy") and len(shapes) == 3 and shapes[1].kind is Kind.HANDLE:
            return "destroy"
        return "call"

    def _shapes(self, command: Command) -> tuple[Shape, ...]:
        return tuple(Shape.of_param(self.venus, command, param) for param in command.params)

    def _functions(self, wire: WireCommand, command: Command) -> None:
        """Declares `vk`."""
        if self.venus.level(command) == "device":
            self.text(
                f"const struct rc_vn_device_functions *vk = device_functions(args->{command.params[0].name}_object);"
            )
        else:
            self.text("const struct rc_vn_instance_functions *vk = &stream->context->guest->vk;")

    def _missing(self, name: str) -> None:
        with self.text.block(f"if (__builtin_expect(!vk->{name}, false))"):
            self.text("fail_missing(stream);")
            self.text("return;")

    def executor(self, wire: WireCommand, command: Command, kind: str) -> None:
        """Write a command's executor."""
        text, name = self.text, wire.short
        with text.block(f"void rc_vn_execute_{name}(struct rc_vn_stream *stream, struct rc_vn_{name} *args)"):
            if kind == "create":
                self._create(wire, command)
            elif kind == "destroy":
                self._destroy(wire, command)
            else:
                self._functions(wire, command)
                self._missing(name)
                self._limits(wire)
                self._queries(command)
                if kind == "record":
                    with text.block(
                        f"if (!rc_vn_command_buffer_record(stream, args->{command.params[0].name}_object))"
                    ):
                        text("return;")
                if kind == "call" and wire.short.startswith(("Reset", "Trim")):
                    self._when_at_rest(command)
                arguments = ", ".join(f"args->{param.name}" for param in command.params)
                result = "args->ret = " if command.returns != "void" else ""
                text(f"{result}vk->{name}({arguments});")
        text()

    def _at_rest(self, command: Command) -> str:
        """What must hold before something is taken from the host's device; "" for the instance's."""
        if self.venus.level(command) != "device":
            return ""
        return f"rc_vn_device_at_rest(rc_vn_from(rc_vn_device, args->{command.params[0].name}_object->device))"

    def _when_at_rest(self, command: Command) -> None:
        if rest := self._at_rest(command):
            with self.text.block(f"if (!{rest})"):
                if command.returns == "VkResult":
                    self.text("args->ret = VK_ERROR_DEVICE_LOST;")
                self.text("return;")

    def _limits(self, wire: WireCommand) -> None:
        for entry in sorted(self.venus.rules.limits):
            found = LIMIT.fullmatch(entry)
            assert found
            if found[1] != wire.short:
                continue
            count = " + ".join(f"args->{name.strip().replace('.', '->')}" for name in found[2].split("+"))
            most = found[3] if found[3].isdigit() else f"stream->context->guest->properties.limits.{found[3]}"
            with self.text.block(f"if (__builtin_expect(0ull + {count} > {most}, false))"):
                field = found[2].split("+")[-1].strip()
                self.text(f'rc_vn_stream_fail(stream, "{field}", "it is beyond {found[3]}");')
                self.text("return;")

    def _queries(self, command: Command) -> None:
        """Numbers of queries: those of their pool."""
        names = [param.name for param in command.params]
        if "queryPool" not in names:
            return
        numbers = "args->firstQuery, args->queryCount" if "firstQuery" in names else "args->query, 1"
        with self.text.block(f"if (!rc_vn_queries_exist(stream, args->queryPool_object, {numbers}))"):
            self.text("return;")

    def _create(self, wire: WireCommand, command: Command) -> None:
        text, name, out = self.text, wire.short, command.params[-1]
        registered = self.venus.registry.type_of(out.type)
        assert registered is not None
        parent = f"args->{command.params[0].name}_object"
        arguments = ", ".join(
            "NULL" if param.type == "VkAllocationCallbacks" else f"args->{param.name}" for param in command.params[:-1]
        )
        text(f"{out.type} handle = VK_NULL_HANDLE;")
        text("args->ret = VK_ERROR_INITIALIZATION_FAILED;")
        with text.block("if (!stream->decoder.poisoned)"):
            self._functions(wire, command)
            self._missing(name)
            text("args->ret = VK_ERROR_OUT_OF_DEVICE_MEMORY;")
            may_create = f"if (rc_vn_may_create(stream, {registered.object_type}))"
            if rest := self._at_rest(command):
                # Drivers take locks in some of these that work holds which hangs.
                with text.block(f"if (!{rest})"):
                    text("args->ret = VK_ERROR_DEVICE_LOST;")
                may_create = f"else {may_create}"
            with text.block(may_create):
                text(f"args->ret = vk->{name}({arguments}, &handle);")
        text(f"uint64_t id = (uint64_t)(uintptr_t)*args->{out.name};")
        call = (
            f"rc_vn_add_object(stream, {registered.object_type}, id, (uint64_t)(uintptr_t)handle, {parent}, args->ret)"
        )
        destroy = f"Destroy{registered.name.removeprefix('Vk')}"
        with text.block(f"if (!{call} && handle)"):
            text(f"device_functions({parent})->{destroy}(args->{command.params[0].name}, handle, NULL);")

    def _destroy(self, wire: WireCommand, command: Command) -> None:
        text, handle = self.text, command.params[1].name
        with text.block(
            f"if (!args->{handle}_object || !rc_vn_object_remove(&stream->context->objects, args->{handle}_object))"
        ):
            text("return;")
        rest = self._at_rest(command)
        with text.block(f"if (!args->{handle}_object->poisoned{f' && {rest}' if rest else ''})"):
            self._functions(wire, command)
            self._missing(wire.short)
            text(f"vk->{wire.short}(args->{command.params[0].name}, args->{handle}, NULL);")

    def dispatcher(self, wire: WireCommand, command: Command, kind: str) -> None:
        """Write what decodes, executes and answers one command."""
        text, name = self.text, wire.short
        head = f"static void dispatch_{name}(struct rc_vn_stream *stream, bool reply, struct rc_vn_encoder *enc)"
        with text.block(head):
            socket = name in self.venus.rules.socket
            with text.block(f"if ({'' if socket else '!'}stream->ring)"):
                channel = (
                    "it belongs on the socket, not on a ring" if socket else "it belongs on a ring, not on the socket"
                )
                text(f'rc_vn_stream_fail(stream, "command", "{channel}");')
                text("return;")
            text(f"struct rc_vn_{name} args;")
            text(f"rc_vn_decode_{name}(&stream->decoder, &args);")
            with text.block("if (!decoded(stream))"):
                text("return;")
            if kind == "refused":
                self._answer(command, "VK_ERROR_FEATURE_NOT_PRESENT")
            elif self._takes_poison(wire, command, kind):
                text(f"rc_vn_execute_{name}(stream, &args);")
            elif kind != "record" and not self._has_answer(command):
                with text.block("if (!stream->decoder.poisoned)"):
                    text(f"rc_vn_execute_{name}(stream, &args);")
            else:
                with text.block("if (__builtin_expect(stream->decoder.poisoned, false))"):
                    if kind == "record":
                        text(f"rc_vn_command_buffer_poison(stream, args.{command.params[0].name}_object);")
                    else:
                        self._answer(command, "VK_ERROR_INITIALIZATION_FAILED")
                with text.block("else"):
                    text(f"rc_vn_execute_{name}(stream, &args);")
            with text.block("if (may_reply(stream, reply))"):
                text(f"rc_vn_encode_{name}_reply(enc, &args);")
        text()

    def _takes_poison(self, wire: WireCommand, command: Command, kind: str) -> bool:
        """Called with poisoned inputs too, or never sees any."""
        if kind in ("create", "destroy") or wire.short in self.venus.rules.poison_executor:
            return True
        return not self._names_objects(command)

    def _names_objects(self, command: Command) -> bool:
        seen: set[str] = set()

        def inside(type_: Type) -> bool:
            if type_.name in seen:
                return False
            seen.add(type_.name)
            if type_.category == "handle":
                return True
            inner = [self.venus.registry.type_of(member.type) for member in type_.members]
            chain = self.venus.chain_of(type_) if type_.stype else ()
            return any(inside(member) for member in (*inner, *chain) if member)

        return any(inside(shape.type) for shape in self._shapes(command) if shape.type is not None and not shape.output)

    def _has_answer(self, command: Command) -> bool:
        return command.returns == "VkResult" or any(shape.in_out for shape in self._shapes(command))

    def _answer(self, command: Command, error: str) -> None:
        """An answer without a call."""
        if command.returns == "VkResult":
            self.text(f"args.ret = {error};")
        for shape in self._shapes(command):
            if shape.in_out:
                with self.text.block(f"if (args.{shape.member.name})"):
                    self.text(f"*args.{shape.member.name} = 0;")


def emit_execute(venus: Venus, head: str) -> str:
    """The file's text."""
    executors = Executors(venus)
    text = executors.text
    kinds = {wire.short: executors.kind(wire, command) for wire, command in venus.decoded}
    for wire, command in venus.decoded:
        if kinds[wire.short] not in ("hand", "refused"):
            executors.executor(wire, command, kinds[wire.short])
    for wire, command in venus.decoded:
        executors.dispatcher(wire, command, kinds[wire.short])
    text("typedef void dispatcher(struct rc_vn_stream *stream, bool reply, struct rc_vn_encoder *enc);")
    text()
    with text.block("static dispatcher *const dispatchers[] =", "};"):
        for wire, _command in venus.decoded:
            text(f"[{wire.number}] = dispatch_{wire.short},")
    body = re.sub(r"\}\n\t*else ", "} else ", f"{text}")
    return f"{head}{INCLUDES}{HELPERS}{body}\n{DISPATCH}"
