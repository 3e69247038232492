/* SPDX-License-Identifier: Apache-2.0 */
#include "srtp.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

enum {
	LABEL_KEY = 0,
	LABEL_SALT = 2,
	/* The label lies above the 48 bits of the packet index (RFC 3711, 4.3.1), in 112 bits of salt: RFC 7714's 96 are its first. */
	LABEL_AT = 7,
	BLOCK_BYTES = 16,
	SEQUENCE_AT = 2,
	SSRC_AT = 8,
};

static size_t key_bytes(enum sc_srtp_profile profile) {
	return profile == SC_SRTP_AEAD_AES_256_GCM ? 32 : 16;
}

/* AES-CM's key stream under the master key, from the salt with the label in it (RFC 3711, 4.3.3; RFC 6188 for 256 bits). */
static bool derive(enum sc_srtp_profile profile, const uint8_t *master_key, const uint8_t *master_salt, uint8_t label,
	uint8_t *out, size_t size_bytes) {
	uint8_t counter[BLOCK_BYTES] = {0};
	memcpy(counter, master_salt, SC_SRTP_SALT_BYTES);
	counter[LABEL_AT] ^= label;
	EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
	if (!cipher) {
		return false;
	}
	const EVP_CIPHER *kind = profile == SC_SRTP_AEAD_AES_256_GCM ? EVP_aes_256_ctr() : EVP_aes_128_ctr();
	int written = 0;
	memset(out, 0, size_bytes);
	const bool ok = EVP_EncryptInit_ex(cipher, kind, NULL, master_key, counter) &&
					EVP_EncryptUpdate(cipher, out, &written, out, (int)size_bytes) && written == (int)size_bytes;
	EVP_CIPHER_CTX_free(cipher);
	return ok;
}

enum sc_result sc_srtp_init_session(
	struct sc_srtp *srtp, enum sc_srtp_profile profile, const uint8_t *session_key, const uint8_t *session_salt) {
	*srtp = (struct sc_srtp){0};
	EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
	if (!cipher) {
		return SC_ERROR_NOMEM;
	}
	const EVP_CIPHER *kind = profile == SC_SRTP_AEAD_AES_256_GCM ? EVP_aes_256_gcm() : EVP_aes_128_gcm();
	if (!EVP_EncryptInit_ex(cipher, kind, NULL, session_key, NULL)) {
		EVP_CIPHER_CTX_free(cipher);
		return SC_ERROR_CRYPTO;
	}
	srtp->cipher = cipher;
	memcpy(srtp->salt, session_salt, SC_SRTP_SALT_BYTES);
	return SC_OK;
}

enum sc_result sc_srtp_init(
	struct sc_srtp *srtp, enum sc_srtp_profile profile, const uint8_t *master_key, const uint8_t *master_salt) {
	uint8_t key[SC_SRTP_MAX_KEY_BYTES], salt[SC_SRTP_SALT_BYTES];
	enum sc_result ret = SC_ERROR_CRYPTO;
	*srtp = (struct sc_srtp){0};
	if (derive(profile, master_key, master_salt, LABEL_KEY, key, key_bytes(profile)) &&
		derive(profile, master_key, master_salt, LABEL_SALT, salt, sizeof(salt))) {
		ret = sc_srtp_init_session(srtp, profile, key, salt);
	}
	OPENSSL_cleanse(key, sizeof(key));
	OPENSSL_cleanse(salt, sizeof(salt));
	return ret;
}

void sc_srtp_finish(struct sc_srtp *srtp) {
	EVP_CIPHER_CTX_free(srtp->cipher);
	OPENSSL_cleanse(srtp, sizeof(*srtp));
}

bool sc_srtp_protect(struct sc_srtp *srtp, uint32_t roll_over, uint8_t *packet, size_t header_bytes,
	const uint8_t *payload, size_t payload_bytes) {
	/* RFC 7714, 8.1: 00 00, SSRC, roll-over counter, sequence number, XORed with the salt. */
	uint8_t nonce[SC_SRTP_SALT_BYTES] = {0};
	memcpy(nonce + 2, packet + SSRC_AT, 4);
	nonce[6] = (uint8_t)(roll_over >> 24);
	nonce[7] = (uint8_t)(roll_over >> 16);
	nonce[8] = (uint8_t)(roll_over >> 8);
	nonce[9] = (uint8_t)roll_over;
	memcpy(nonce + 10, packet + SEQUENCE_AT, 2);
	for (size_t i = 0; i < sizeof(nonce); i++) {
		nonce[i] ^= srtp->salt[i];
	}
	uint8_t *out = packet + header_bytes;
	int written = 0;
	/* GCM is a stream: all is written by the one update, nothing by the final. */
	return EVP_EncryptInit_ex(srtp->cipher, NULL, NULL, NULL, nonce) &&
		   EVP_EncryptUpdate(srtp->cipher, NULL, &written, packet, (int)header_bytes) &&
		   EVP_EncryptUpdate(srtp->cipher, out, &written, payload, (int)payload_bytes) &&
		   EVP_EncryptFinal_ex(srtp->cipher, out + payload_bytes, &written) &&
		   EVP_CIPHER_CTX_ctrl(srtp->cipher, EVP_CTRL_AEAD_GET_TAG, SC_SRTP_TAG_BYTES, out + payload_bytes);
}
