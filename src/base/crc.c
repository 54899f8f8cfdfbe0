/* crc.c - see crc.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/crc.h"
