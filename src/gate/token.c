/* token.c - see token.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/token.h"
