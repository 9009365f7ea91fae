/* A bare loop: accept clients, and for each byte of a sender, send(2) one frame to every member. No protocol, no state,
 * no second thought: what the kernel alone costs.   bare PORT FRAME_BYTES
 * A client says M (member) or S (sender) and is answered '+'. The frame holds one '^'. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_CLIENTS = 65536, EVENTS = 256 };
static char is_member[MAX_CLIENTS], is_known[MAX_CLIENTS];
static int members[MAX_CLIENTS], count;

static void fan_out(const char *frame, size_t size) {
  for (int i = 0; i < count; i++) {
    size_t done = 0;
    while (done < size) {
      ssize_t sent = send(members[i], frame + done, size - done, MSG_NOSIGNAL);
      if (sent < 0 && errno != EINTR) break;
      if (sent > 0) done += (size_t)sent;
    }
  }
}

static void leave(int poll, int client) {
  for (int i = 0; is_member[client] && i < count; i++)
    if (members[i] == client) members[i--] = members[--count];
  is_member[client] = is_known[client] = 0;
  epoll_ctl(poll, EPOLL_CTL_DEL, client, NULL);
  close(client);
}

int main(int argc, char **argv) {
  if (argc != 3) return fprintf(stderr, "usage: bare PORT FRAME_BYTES\n"), 2;
  size_t size = (size_t)atol(argv[2]);
  char *frame = malloc(size), data[4096];
  if (frame == NULL || size == 0) return 2;
  memset(frame, 'm', size);
  frame[0] = '^';
  int on = 1, poll = epoll_create1(0), listener = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1]))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) return perror("bare"), 1;
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[EVENTS];
  epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    int ready = epoll_wait(poll, events, EVENTS, -1);
    for (int i = 0; i < ready; i++) {
      int client = events[i].data.fd;
      if (client == listener) {
        client = accept(listener, NULL, NULL);
        if (client < 0) continue;
        if (client >= MAX_CLIENTS) { close(client); continue; }
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        event.events = EPOLLIN, event.data.fd = client;
        epoll_ctl(poll, EPOLL_CTL_ADD, client, &event);
        continue;
      }
      ssize_t got = recv(client, data, sizeof data, 0);
      if (got <= 0) { leave(poll, client); continue; }
      for (ssize_t at = 0; at < got; at++) {
        if (is_known[client]) { fan_out(frame, size); continue; }
        is_known[client] = 1;
        if (data[at] == 'M') is_member[client] = 1, members[count++] = client;
        send(client, "+", 1, MSG_NOSIGNAL);
      }
    }
  }
}
