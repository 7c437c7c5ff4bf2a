/* The contract with the kernel, on Linux: doors, which are datagram sockets of abstract names.
 *
 * An abstract name vanishes with its socket, so a kill leaves nothing behind (I-11). What comes in
 * is never read for its content: a stranger who knocks costs one look.
 */
#define _GNU_SOURCE
#include "os.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static socklen_t address_of(uint64_t number, struct sockaddr_un *address) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  int length = snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "dsm-%u-%016llx",
                        dsm_os_user(), (unsigned long long)number);
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

static int socket_open(void) {
  return socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

int dsm_os_door_open(uint64_t number) {
  struct sockaddr_un address;
  socklen_t length = address_of(number, &address);
  int door = socket_open();
  if (door < 0) return -1;
  if (bind(door, (const struct sockaddr *)&address, length) == 0) return door;
  close(door);
  return -1;
}

void dsm_os_door_knock(const uint64_t *numbers, unsigned count) {
  int out = count ? socket_open() : -1;
  if (out < 0) return;
  for (unsigned i = 0; i < count; i++) {
    struct sockaddr_un address;
    socklen_t length = address_of(numbers[i], &address);
    /* A full queue means that knocks are waiting already; no such door, that nobody is there. */
    (void)!sendto(out, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&address,
                  length);
  }
  close(out);
}

void dsm_os_door_clear(int door) {
  char nothing[1];
  if (door < 0) return;
  while (recv(door, nothing, sizeof nothing, MSG_DONTWAIT) >= 0) continue;
}

void dsm_os_door_close(int door) {
  if (door >= 0) close(door);
}
