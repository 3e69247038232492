/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RC_CONVERT_CPU_H
#define RC_CONVERT_CPU_H

#include "convert/convert.h"

/* Convert one rectangle; x, y and the size are even, inside the coded size. Any thread. */
void rc_convert_cpu(const struct rc_picture *picture, const struct rc_planes *planes, const struct rc_rect *rect);

#endif
