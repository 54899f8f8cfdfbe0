/* journal.c - see journal.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/journal.h"
