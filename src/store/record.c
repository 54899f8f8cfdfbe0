/* record.c - see record.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/record.h"
