/* SPDX-License-Identifier: Apache-2.0
 * Protects RTP packets with AEAD-GCM (RFC 7714); keys by RFC 3711, 4.3. One key for all SSRCs: a nonce is made of SSRC, roll-over counter
 * and sequence number, so nobody may protect two different packets under the same three. One thread at a time. */
#ifndef SC_SEND_SRTP_H
#define SC_SEND_SRTP_H

#include "sc_sender.h"

enum {
	SC_SRTP_TAG_BYTES = 16,
	SC_SRTP_SALT_BYTES = 12,
	SC_SRTP_MAX_KEY_BYTES = 32,
};

struct sc_srtp {
	void *cipher; /* EVP_CIPHER_CTX, with the session key in it */
	uint8_t salt[SC_SRTP_SALT_BYTES];
};

/* Derive the session's key and salt from the master's. SC_ERROR_CRYPTO: libcrypto has no such cipher. */
enum sc_result sc_srtp_init(
	struct sc_srtp *srtp, enum sc_srtp_profile profile, const uint8_t *master_key, const uint8_t *master_salt);
/* With the session's key and salt themselves: for RFC 7714's vectors. */
enum sc_result sc_srtp_init_session(
	struct sc_srtp *srtp, enum sc_srtp_profile profile, const uint8_t *session_key, const uint8_t *session_salt);
void sc_srtp_finish(struct sc_srtp *srtp);

/* `packet` begins with a header of `header_bytes`; write the encrypted payload and the tag (SC_SRTP_TAG_BYTES) behind it. `payload` may be
 * where the result goes. */
bool sc_srtp_protect(struct sc_srtp *srtp, uint32_t roll_over, uint8_t *packet, size_t header_bytes,
	const uint8_t *payload, size_t payload_bytes);

#endif
