/* price.c - see price.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/price.h"
