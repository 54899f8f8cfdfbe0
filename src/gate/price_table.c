/* price_table.c - the built-in list of prices.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/price.h"
