/* key_conf.c - see key_conf.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/key_conf.h"
