/* SPDX-License-Identifier: Apache-2.0 */
#include "dump.h"

#include <sys/uio.h>
#include <unistd.h>

enum {
	MAGIC_NS = 0xa1b23c4d, /* times in nanoseconds, in this machine's byte order */
	LINK_TYPE_RAW = 101,   /* begins with the IP header */
	IP_HEADER_BYTES = 20,
	UDP_HEADER_BYTES = 8,
	NS_PER_S = 1000000000,
};

struct file_header {
	uint32_t magic;
	uint16_t major, minor;
	uint32_t zone, accuracy, max_packet_bytes, link_type;
};

struct packet_header {
	uint32_t seconds, nanoseconds, kept_bytes, size_bytes;
};

static void put_u16(uint8_t *out, size_t value) {
	out[0] = (uint8_t)(value >> 8);
	out[1] = (uint8_t)value;
}

bool sc_dump_begin(int fd) {
	const struct file_header header = {
		.magic = MAGIC_NS, .major = 2, .minor = 4, .max_packet_bytes = 65535, .link_type = LINK_TYPE_RAW};
	return write(fd, &header, sizeof(header)) == sizeof(header);
}

void sc_dump_packet(
	int fd, const uint8_t *header, size_t header_bytes, const uint8_t *payload, size_t payload_bytes, uint64_t now_ns) {
	const size_t udp_bytes = UDP_HEADER_BYTES + header_bytes + payload_bytes;
	const size_t total = IP_HEADER_BYTES + udp_bytes;
	struct packet_header packet = {
		.seconds = (uint32_t)(now_ns / NS_PER_S),
		.nanoseconds = (uint32_t)(now_ns % NS_PER_S),
		.kept_bytes = (uint32_t)total,
		.size_bytes = (uint32_t)total,
	};
	/* From 127.0.0.1 to 127.0.0.1, UDP, without checksums. */
	uint8_t ip[IP_HEADER_BYTES + UDP_HEADER_BYTES] = {
		0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1};
	put_u16(ip + 2, total);
	put_u16(ip + IP_HEADER_BYTES, SC_DUMP_PORT);
	put_u16(ip + IP_HEADER_BYTES + 2, SC_DUMP_PORT);
	put_u16(ip + IP_HEADER_BYTES + 4, udp_bytes);
	const struct iovec parts[] = {
		{&packet, sizeof(packet)},
		{ip, sizeof(ip)},
		{(void *)(uintptr_t)header, header_bytes},
		{(void *)(uintptr_t)payload, payload_bytes},
	};
	/* A dump that cannot be written must not end the stream. */
	const ssize_t written = writev(fd, parts, 4);
	(void)written;
}
