/* SPDX-License-Identifier: Apache-2.0
 * Packets before they are protected, as a pcap file: each as UDP over IPv4, so that Wireshark finds RTP in it. */
#ifndef SC_SEND_DUMP_H
#define SC_SEND_DUMP_H

#include "sc_sender.h"

enum {
	/* Where the packets of a dump seem to go to. */
	SC_DUMP_PORT = 5004,
};

/* Write the file's header; false with errno. */
bool sc_dump_begin(int fd);

/* Append a packet in two parts; what cannot be written is left out. */
void sc_dump_packet(
	int fd, const uint8_t *header, size_t header_bytes, const uint8_t *payload, size_t payload_bytes, uint64_t now_ns);

#endif
