/* keyring.c - see keyring.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/keyring.h"
