#include "store_backend.h"

#include <pthread.h>

/* The polynomial of RFC 3720, bits reversed. */
#define CRC32C_POLYNOMIAL 0x82f63b78u

/* crc_tables[k][b]: what byte b does to the sum when k more bytes follow it. */
static uint32_t crc_tables[8][256];
static pthread_once_t crc_tables_once = PTHREAD_ONCE_INIT;

static void crc_tables_make(void)
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t crc = b;

        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? CRC32C_POLYNOMIAL : 0);
        crc_tables[0][b] = crc;
    }
    for (int k = 1; k < 8; k++)
        for (int b = 0; b < 256; b++) {
            uint32_t before = crc_tables[k - 1][b];

            crc_tables[k][b] = before >> 8 ^ crc_tables[0][before & 0xff];
        }
}

/* Eight bytes a step, a table look-up for each. */
uint32_t store_crc32c_portable(uint32_t crc, const void *at, size_t bytes)
{
    const uint8_t *p = at;

    pthread_once(&crc_tables_once, crc_tables_make);
    crc = ~crc;
    for (; bytes >= 8; p += 8, bytes -= 8) {
        uint32_t low = store_read_u32(p) ^ crc;

        crc = crc_tables[7][low & 0xff] ^ crc_tables[6][low >> 8 & 0xff] ^
              crc_tables[5][low >> 16 & 0xff] ^ crc_tables[4][low >> 24] ^ crc_tables[3][p[4]] ^
              crc_tables[2][p[5]] ^ crc_tables[1][p[6]] ^ crc_tables[0][p[7]];
    }
    for (; bytes > 0; p++, bytes--)
        crc = crc >> 8 ^ crc_tables[0][(crc ^ *p) & 0xff];
    return ~crc;
}

#if defined(__x86_64__)

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const void *at,
                                                               size_t bytes)
{
    const uint8_t *p = at;
    uint64_t sum = (uint32_t)~crc;

    for (; bytes >= 8; p += 8, bytes -= 8) {
        uint64_t word;

        memcpy(&word, p, 8);
        sum = __builtin_ia32_crc32di(sum, word);
    }
    for (; bytes > 0; p++, bytes--)
        sum = __builtin_ia32_crc32qi((uint32_t)sum, *p);
    return ~(uint32_t)sum;
}

uint32_t store_crc32c(uint32_t crc, const void *at, size_t bytes)
{
    if (__builtin_cpu_supports("sse4.2"))
        return crc32c_sse42(crc, at, bytes);
    return store_crc32c_portable(crc, at, bytes);
}

#else

uint32_t store_crc32c(uint32_t crc, const void *at, size_t bytes)
{
    return store_crc32c_portable(crc, at, bytes);
}

#endif
