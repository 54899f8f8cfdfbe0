/* api.c - see api.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/api.h"
