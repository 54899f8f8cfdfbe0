/* budget.c - see budget.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/budget.h"
