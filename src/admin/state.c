/* state.c - see state.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/state.h"
