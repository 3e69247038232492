/* SPDX-License-Identifier: Apache-2.0 */
#include "packetiser.h"

sc_packetise sc_packetiser_of(enum sc_codec codec) {
	switch (codec) {
	case SC_CODEC_H264:
		return sc_packetise_h264;
	}
	return NULL;
}
