/* civil.c - see civil.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/civil.h"
