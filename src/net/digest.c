/* digest.c - see digest.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "net/digest.h"
