/* crc.h - two checksums: CRC-32 (IEEE 802.3, as in zip and PNG) and CRC-32C (Castagnoli, RFC 3720). Pure; any thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_BASE_CRC_H
#define VALET_BASE_CRC_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32_of(const void *bytes, size_t len);
/* `before`: the result for the bytes before these; 0 at the beginning. Uses the processor's instruction where it has one. */
uint32_t crc32c_of(uint32_t before, const void *bytes, size_t len);
/* The same without that instruction; what crc32c_of() is held against. */
uint32_t crc32c_portable(uint32_t before, const void *bytes, size_t len);

#endif
