/* MD5 (RFC 1321), for one purpose: points and keys of rings that must agree with ketama's. It
 * protects nothing. Pure; reads any alignment; little endian only, as hash.h demands already.
 */
#ifndef DSM_BASE_MD5_H
#define DSM_BASE_MD5_H

#include <stddef.h>
#include <stdint.h>

enum { DSM_MD5_BYTES = 16 };

void dsm_md5(const void *data, size_t length, uint8_t digest[DSM_MD5_BYTES]);

#endif
