# SPDX-License-Identifier: Apache-2.0
"""venus_tables_gen.c: names, extensions, and the host's functions."""

from __future__ import annotations

from emit_header import functions
from text import Text
from venus import Venus

LOADER = """\
struct function {
	size_t offset;     /* in the struct of functions */
	const char *names; /* each with its NUL; the last is empty */
};

static void load_{level}(
	void *vk, const struct function *functions, size_t count, PFN_vkGet{Level}ProcAddr get, Vk{Level} {level}) {{
	for (size_t i = 0; i < count; i++) {{
		PFN_vkVoidFunction found = NULL;
		for (const char *name = functions[i].names; *name && !found; name += strlen(name) + 1) {{
			found = get({level}, name);
		}}
		memcpy((uint8_t *)vk + functions[i].offset, &found, sizeof(found));
	}}
}}
"""


def _loader(venus: Venus, text: Text, level: str) -> None:
    with text.block(f"static const struct function {level}_functions[] =", "};"):
        for name in functions(venus, level):
            names = "".join(f"{candidate}\\0" for candidate in venus.function_names(f"vk{name}"))
            text(f'{{offsetof(struct rc_vn_{level}_functions, {name}), "{names}"}},')


def _mask(venus: Venus) -> list[int]:
    words = [1] + [0] * 31
    for extension in venus.extensions:
        if extension.known:
            words[extension.number // 32] |= 1 << extension.number % 32
    return words


def emit_tables(venus: Venus, head: str) -> str:
    """The file's text."""
    text = Text()
    minor = max(int(feature.name.rsplit("_", 1)[1]) for feature in venus.registry.features)
    text(f"const uint32_t rc_vn_registry_version = VK_MAKE_API_VERSION(0, 1, {minor}, VK_HEADER_VERSION);")
    text()
    with text.block("static const char *const command_names[] =", "};"):
        for wire in venus.commands:
            text(f'[{wire.number}] = "{wire.name}",')
    text()
    with text.block("const char *rc_vn_command_name(uint32_t command)"):
        text("return command < sizeof(command_names) / sizeof(command_names[0]) ? command_names[command] : NULL;")
    text()
    with text.block("const struct rc_vn_extension rc_vn_extensions[] =", "};"):
        for extension in venus.extensions:
            known = "true" if extension.known else "false"
            text(f'{{{extension.number}, "{extension.name}", {extension.spec_version}, {known}}},')
    text("const uint32_t rc_vn_extension_count = sizeof(rc_vn_extensions) / sizeof(rc_vn_extensions[0]);")
    with text.block("const uint32_t rc_vn_extension_mask[32] =", "};"):
        words = [f"{word:#010x}" for word in _mask(venus)]
        for start in range(0, 32, 8):
            text(", ".join(words[start : start + 8]) + ",")
    text()
    _loader(venus, text, "instance")
    text()
    _loader(venus, text, "device")
    struct, function = LOADER.split("\n\n", 1)
    out = [head, '#include "venus_gen.h"\n\n', struct, "\n\n", str(text), "\n"]
    for level in ("instance", "device"):
        count = f"sizeof({level}_functions) / sizeof({level}_functions[0])"
        out.append(function.format(level=level, Level=level.capitalize()) + "\n")
        out.append(
            f"void rc_vn_load_{level}_functions(\n\tstruct rc_vn_{level}_functions *vk, "
            f"PFN_vkGet{level.capitalize()}ProcAddr get, Vk{level.capitalize()} {level}) {{\n"
            f"\tload_{level}(vk, {level}_functions, {count}, get, {level});\n}}\n\n"
        )
    return "".join(out).rstrip("\n") + "\n"
