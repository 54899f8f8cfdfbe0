/* queue.c - see queue.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/queue.h"
