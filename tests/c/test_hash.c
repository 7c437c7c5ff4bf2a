/* XXH3-64 against the published vectors: the sanity buffer of xxHash 0.8 (xsum_sanity_check), every
 * length class, seed 0 and its second seed; then alignment, and the pages next to the input, which
 * must not be read.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../csrc/base/hash.h"
#include "check_main.h"

enum { SANITY_BYTES = 2367 };

static const uint64_t sanity_seed = UINT64_C(0x9E3779B185EBCA8D);

static const struct {
  size_t length;
  uint64_t without_seed, with_seed;
} published[] = {
    {0, 0x2D06800538D394C2u, 0xA8A6B918B2F0364Au},
    {1, 0xC44BDFF4074EECDBu, 0x032BE332DD766EF8u},
    {6, 0x27B56A84CD2D7325u, 0x84589C116AB59AB9u},
    {12, 0xA713DAF0DFBB77E7u, 0xE7303E1B2336DE0Eu},
    {16, 0x981B17D36C7498C9u, 0x663F29333B4DB6B1u},
    {17, 0x796F5ACD3A60F862u, 0xF3EC5067F4306DB3u},
    {24, 0xA3FE70BF9D3510EBu, 0x850E80FC35BDD690u},
    {48, 0x397DA259ECBA1F11u, 0xADC2CBAA44ACC616u},
    {80, 0xBCDEFBBB2C47C90Au, 0xC6DD0CB699532E73u},
    {101, 0xB7F2A5219A6ADCD6u, 0x3F0B78B11279E491u},
    {128, 0xFCFF24126754D861u, 0x73FDE75280646649u},
    {129, 0x98F1B0A679A2CA29u, 0x21FFFDBCA099C844u},
    {195, 0xCD94217EE362EC3Au, 0xBA68003D370CB3D9u},
    {240, 0x81C3C2B67F568CCFu, 0xCC0F58C27EF3D8EEu},
    {241, 0xC5A639ECD2030E5Eu, 0xDDA9B0A161D4829Au},
    {403, 0xCDEB804D65C6DEA4u, 0x6259F6ECFD6443FDu},
    {512, 0x617E49599013CB6Bu, 0x3CE457DE14C27708u},
    {2048, 0xDD59E2C3A5F038E0u, 0x66F81670669ABABCu},
    {2099, 0xC6B9D9B3FC9AC765u, 0x184F316843663974u},
    {2240, 0x6E73A90539CF2948u, 0x757BA8487D1B5247u},
    {2367, 0xCB37AEB9E5D361EDu, 0xD2DB3415B942B42Au},
};

static void fill_sanity(unsigned char buffer[SANITY_BYTES]) {
  uint64_t state = UINT64_C(0x9E3779B1);
  for (int i = 0; i < SANITY_BYTES; i++) {
    buffer[i] = (unsigned char)(state >> 56);
    state *= sanity_seed;
  }
}

static void test_published_vectors(const unsigned char *sanity) {
  for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
    CHECK_EQUAL(dsm_hash64(sanity, published[i].length, 0), published[i].without_seed);
    CHECK_EQUAL(dsm_hash64(sanity, published[i].length, sanity_seed), published[i].with_seed);
  }
  CHECK_EQUAL(dsm_hash64(NULL, 0, 0), published[0].without_seed);
}

static void test_any_alignment(const unsigned char *sanity) {
  unsigned char shifted[SANITY_BYTES + 64];
  for (size_t length = 0; length <= SANITY_BYTES; length += length < 300 ? 1 : 97) {
    uint64_t expected = dsm_hash64(sanity, length, sanity_seed);
    for (size_t offset = 1; offset < 64; offset += 3) {
      memcpy(shifted + offset, sanity, length);
      CHECK_EQUAL(dsm_hash64(shifted + offset, length, sanity_seed), expected);
    }
  }
}

/* The input between two pages without access: a read of one byte outside it ends the program. */
static void test_reads_only_the_input(const unsigned char *sanity) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  unsigned char *map = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(map != MAP_FAILED);
  CHECK(mprotect(map + page, page, PROT_READ | PROT_WRITE) == 0);
  for (size_t length = 0; length <= SANITY_BYTES; length++) {
    uint64_t expected = dsm_hash64(sanity, length, 0);
    memcpy(map + page, sanity, length);
    CHECK_EQUAL(dsm_hash64(map + page, length, 0), expected);
    memcpy(map + 2 * page - length, sanity, length);
    CHECK_EQUAL(dsm_hash64(map + 2 * page - length, length, 0), expected);
  }
  munmap(map, 3 * page);
}

int main(void) {
  unsigned char sanity[SANITY_BYTES];
  fill_sanity(sanity);
  test_published_vectors(sanity);
  test_any_alignment(sanity);
  test_reads_only_the_input(sanity);
  return check_result("hash");
}
