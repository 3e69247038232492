// SPDX-License-Identifier: Apache-2.0
// BT.709, limited range, 8 bits: Y 16..235, U and V 16..240 (ITU-R BT.709-6, 3.2-3.4). Inputs 0..255 each.

float luma(vec3 rgb) {
	return 16.0 + dot(rgb, vec3(0.182586, 0.614231, 0.062007));
}

vec2 chroma(vec3 rgb) {
	return vec2(128.0) + vec2(dot(rgb, vec3(-0.100644, -0.338572, 0.439216)), dot(rgb, vec3(0.439216, -0.398942, -0.040274)));
}
