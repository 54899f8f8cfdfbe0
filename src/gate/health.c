/* health.c - see health.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/health.h"
