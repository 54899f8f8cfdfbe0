/* choose.c - see choose.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/choose.h"
