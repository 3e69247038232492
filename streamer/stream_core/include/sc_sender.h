/* SPDX-License-Identifier: Apache-2.0
 * Sends one video stream: access units in, protected RTP packets out on a UDP socket.
 *
 * RTP (RFC 3550) with one-byte header extensions (RFC 8285), H.264 payloads (RFC 6184), SRTP AEAD-GCM (RFC 7714), RTX (RFC 4588).
 * Any function may be called from any thread; a mutex in the sender serves them in turn. None of them blocks on the network.
 * Times are CLOCK_MONOTONIC in nanoseconds; `now_ns` is the caller's, so that tests have a clock of their own. */
#ifndef SC_SENDER_H
#define SC_SENDER_H

#include "sc_packet_log.h"
#include "sc_result.h"

struct sc_sender;

enum sc_codec {
	SC_CODEC_H264 = 0,
};

enum sc_srtp_profile {
	SC_SRTP_AEAD_AES_128_GCM = 0,
	SC_SRTP_AEAD_AES_256_GCM = 1,
};

/* How packets are given to the kernel; each falls back to the next when the kernel or the device refuses it. */
enum sc_send_mode {
	SC_SEND_GSO =
		0, /* sendmmsg, with UDP segmentation offload: a system call for 100 packets, a trip through the stack for 50 */
	SC_SEND_SENDMMSG = 1, /* a system call for 100 packets */
	SC_SEND_SINGLY = 2,   /* a system call each */
};

/* Identifiers that were negotiated; 0: the extension was not. */
struct sc_extension_ids {
	uint8_t mid;
	uint8_t abs_send_time;
	uint8_t playout_delay;
	uint8_t transport_cc;
	uint8_t abs_capture_time;
};

struct sc_sender_params {
	enum sc_codec codec;
	enum sc_srtp_profile profile;
	uint8_t master_key[32]; /* its first 16 bytes with AES-128 */
	uint8_t master_salt[12];
	uint32_t ssrc;
	uint16_t first_sequence;
	uint8_t payload_type;
	/* Without RTX a lost packet is sent again as it was, byte for byte. */
	bool has_rtx;
	uint8_t rtx_payload_type;
	uint16_t first_rtx_sequence;
	uint32_t rtx_ssrc;
	struct sc_extension_ids extensions;
	char mid[17];              /* ends with 0; 1 to 16 bytes when its extension was negotiated */
	uint32_t max_packet_bytes; /* of a UDP payload, tag included; 0: 1200. A retransmission may have 2 more */
	uint64_t history_ns;       /* how long a packet can be sent again; 0: 2 s. 8192 packets are kept at most */
	uint32_t max_resent_per_s; /* packets; 0: 4000 */
	struct sc_packet_log
		*log; /* borrowed: the sender takes a reference. Needed when transport_cc was negotiated, else may be NULL */
};

struct sc_frame {
	const uint8_t *data; /* a whole access unit (H.264: Annex B); read during the call only */
	size_t size_bytes;
	uint32_t rtp_time;
	bool is_keyframe;
	uint64_t capture_ntp; /* for abs-capture-time: NTP, 32.32 bits */
};

/* A frame whose last packet has been given to the kernel. */
struct sc_sent_frame {
	uint32_t rtp_time;
	uint32_t packets;
	uint64_t first_packet_ns;
	uint64_t last_packet_ns;
};

struct sc_sender_state {
	uint64_t next_ns; /* when sc_sender_pump() is to be called; UINT64_MAX: nothing waits for a time */
	bool is_blocked;  /* there is no path, or its socket takes no more: call sc_sender_pump() when it is writable */
	uint32_t unsent_frames;
	uint64_t unsent_bytes; /* payload that waits for its time or for the socket */
	uint64_t packets;      /* RTCP's sender's packet count: without retransmissions */
	uint64_t octets;       /* RTCP's sender's octet count: payload of those packets */
	uint64_t resent_packets;
	uint64_t resends_refused; /* not remembered, too soon again, or over the limit */
	uint64_t frames;
	uint64_t frames_refused;  /* malformed, or no room */
	uint64_t frames_replaced; /* taken back, unsent, for a keyframe */
	uint64_t send_errors;     /* packets that the kernel refused for good */
	uint32_t last_rtp_time;
	int last_errno; /* of send_errors */
	enum sc_send_mode mode;
};

/* Create a sender without a path: packets wait until it has one. On success *out is the caller's.
 * SC_ERROR_INVALID: an id, the mid or a size is out of range. */
enum sc_result sc_sender_create(const struct sc_sender_params *params, struct sc_sender **out);

/* End a sender, unsent packets included. NULL is taken. The caller sees to it that no other call is under way. */
void sc_sender_destroy(struct sc_sender *sender);

/* Send nothing more, and give the memory of packets back: 10 MB when much was sent. Counters stay. Every other call may still be made, and does nothing. */
void sc_sender_close(struct sc_sender *sender);

/* Send on this socket from now on: `borrow_fd` is dup'ed. `host` and `port` are where to, numeric; a NULL host: the socket is connected,
 * or is one end of a socket pair whose other end forwards datagrams. -1 as `borrow_fd`: there is no path any more.
 * Packets that wait go the new way. On failure the sender has no path. */
enum sc_result sc_sender_set_path(struct sc_sender *sender, int borrow_fd, const char *host, uint16_t port);

/* The best way of sending that may be tried from the next path on; for measurements and tests. */
void sc_sender_limit_mode(struct sc_sender *sender, enum sc_send_mode mode);

/* Spread what exceeds a burst at `pace_bps` (0: no pacing, the default). A burst is 20 ms of that, 12 to 128 KiB. */
void sc_sender_set_pace(struct sc_sender *sender, uint64_t pace_bps);

/* Packetise a frame and send what the pace allows. A keyframe takes the place of older frames none of whose packets has been sent.
 * SC_AGAIN: there is no room; the frame was dropped and what follows cannot be decoded before a keyframe.
 * SC_ERROR_INVALID: there is no NAL unit in it. */
enum sc_result sc_sender_send_frame(struct sc_sender *sender, const struct sc_frame *frame, uint64_t now_ns);

/* Send what is due. */
void sc_sender_pump(struct sc_sender *sender, uint64_t now_ns);

/* Send packets again that the receiver lacks (RTCP NACK), those left out that a later keyframe has made useless; returns how many were sent. */
uint32_t sc_sender_retransmit(struct sc_sender *sender, const uint16_t *sequences, uint32_t count, uint64_t now_ns);

/* Return the payload's size of a packet that was sent and may be sent again; 0: it is not remembered, or of no use any more. */
uint32_t sc_sender_remembered_bytes(struct sc_sender *sender, uint16_t sequence, uint64_t now_ns);

void sc_sender_get_state(struct sc_sender *sender, struct sc_sender_state *out);

/* Take reports of frames that have been sent, oldest first; returns how many were written. 64 are kept. */
uint32_t sc_sender_take_sent(struct sc_sender *sender, struct sc_sent_frame *out, uint32_t capacity);

/* For debugging: write each packet, before it is protected, to `borrow_fd` (dup'ed) as a pcap file that Wireshark reads. -1 ends it. */
enum sc_result sc_sender_dump(struct sc_sender *sender, int borrow_fd);

#endif
