/*
 * The load client in C: connects devices, greets, and answers every tool_call with a constant tool_result.
 *
 *   client PORT DEVICES WIRE OPENING HELLO ANSWER PAUSE_MS
 *
 * WIRE: "ws" (RFC 6455) or "raw" (a length of four bytes before each message). OPENING: the upgrade request.
 * HELLO: the first message, in which %08d becomes the number of the device. ANSWER: the answer, in which
 * ID_LENGTH question marks become the id of the call. PAUSE_MS: the time between
 * AT_ONCE devices and the next: a hub sends a network away that takes all of its time.
 *
 * Prints {"connected": n} once every device is welcomed, and goes on until its input or all sockets are closed.
 * The mask is zero, as in the client in Python.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

enum { AT_ONCE = 12 /* strangers at once: fewer than a hub lets in */, ANSWERS_AT_ONCE = 16, TYPE_WITHIN = 24, BUFFER = 1 << 20, ID_LENGTH = 34, CLOSE = 8, PING = 9 };

struct bytes {
    unsigned char *data;
    size_t length, room;
};

struct device {
    int socket;
    struct bytes rest, pending; /* the beginning of a message; what the socket did not take */
};

struct answer {
    struct bytes head, tail; /* around the id */
};

static int is_raw, epoll;
static unsigned char buffer[BUFFER];
static struct bytes answers;
static struct answer answer;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void add(struct bytes *to, const void *data, size_t length) {
    if (to->length + length > to->room) {
        to->room = 2 * (to->length + length);
        if (!(to->data = realloc(to->data, to->room))) fail("realloc");
    }
    memcpy(to->data + to->length, data, length);
    to->length += length;
}

static void add_header(struct bytes *to, int opcode, uint64_t length) {
    unsigned char header[14] = {0x80 | opcode};
    int size = 2;
    if (is_raw) {
        uint32_t prefix = htonl(length);
        add(to, &prefix, sizeof prefix);
        return;
    }
    header[1] = 0x80 | (length < 126 ? length : length < 65536 ? 126 : 127);
    if (length >= 126)
        for (int bits = length < 65536 ? 8 : 56; bits >= 0; bits -= 8) header[size++] = length >> bits;
    add(to, header, size + 4); /* with the mask */
}

static void add_message(struct bytes *to, const char *message) {
    add_header(to, 1, strlen(message));
    add(to, message, strlen(message));
}

static struct answer answer_from(const char *text) {
    struct answer made = {0};
    const char *id = strchr(text, '?');
    add_header(&made.head, 1, strlen(text));
    add(&made.head, text, id - text);
    add(&made.tail, id + ID_LENGTH, strlen(id + ID_LENGTH));
    return made;
}

/* Find the message at *at; return its opcode, or -1 if it is not complete. */
static int next_message(const unsigned char *data, size_t length, size_t *at, size_t *size) {
    const unsigned char *p = data + *at;
    size_t left = length - *at, header = 2;
    uint64_t payload;
    if (is_raw) {
        if (left < 4) return -1;
        payload = (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
        header = 4;
    } else {
        if (left < 2) return -1;
        payload = p[1] & 127;
        if (payload >= 126) {
            header = payload == 126 ? 4 : 10;
            if (left < header) return -1;
            payload = 0;
            for (size_t i = 2; i < header; i++) payload = payload << 8 | p[i];
        }
    }
    if (left < header + payload) return -1;
    *at += header;
    *size = payload;
    return is_raw ? 1 : p[0] & 15;
}

static void watch(struct device *device, int events, int how) {
    struct epoll_event event = {.events = events, .data.ptr = device};
    if (epoll_ctl(epoll, how, device->socket, &event)) fail("epoll_ctl");
}

static void send_to(struct device *device, const unsigned char *data, size_t length) {
    ssize_t sent = 0;
    if (!device->pending.length) {
        sent = send(device->socket, data, length, MSG_NOSIGNAL);
        if (sent < 0) sent = 0; /* an error shows at the next read */
        if ((size_t)sent < length) watch(device, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    }
    if ((size_t)sent < length) add(&device->pending, data + sent, length - sent);
}

static void send_pending(struct device *device) {
    struct bytes left = device->pending;
    device->pending = (struct bytes){0};
    watch(device, EPOLLIN, EPOLL_CTL_MOD);
    send_to(device, left.data, left.length);
    free(left.data);
}

static void flush_answers(struct device *device) {
    if (answers.length) send_to(device, answers.data, answers.length);
    answers.length = 0;
}

static void answer_call(const unsigned char *call, size_t size) {
    const unsigned char *id = memmem(call, size, "\"id\":", 5);
    if (!id || !(id = memchr(id + 5, '"', 2))) fail("a call without an id");
    add(&answers, answer.head.data, answer.head.length);
    add(&answers, id + 1, ID_LENGTH);
    add(&answers, answer.tail.data, answer.tail.length);
}

/* Read once; return 0 if the socket is closed. */
static int receive(struct device *device) {
    size_t length = device->rest.length, at = 0, start, size;
    int opcode, waiting = 0;
    memcpy(buffer, device->rest.data ? device->rest.data : buffer, length);
    ssize_t got = recv(device->socket, buffer + length, BUFFER - length, 0);
    if (got < 0 && errno == EAGAIN) return 1;
    if (got <= 0) return 0;
    length += got;
    device->rest.length = 0;
    for (start = 0; (opcode = next_message(buffer, length, &at, &size)) >= 0; start = at += size) {
        if (opcode == PING || opcode == CLOSE) {
            add_header(&answers, opcode == PING ? 10 : CLOSE, size);
            add(&answers, buffer + at, size);
        } else if (memmem(buffer + at, size < TYPE_WITHIN ? size : TYPE_WITHIN, "\"tool_call\"", 11)) {
            answer_call(buffer + at, size);
            if (++waiting == ANSWERS_AT_ONCE) {
                flush_answers(device);
                waiting = 0;
            }
        }
    }
    flush_answers(device);
    if (start < length) add(&device->rest, buffer + start, length - start);
    return 1;
}

static void read_until(struct device *device, const char *mark) {
    for (;;) {
        unsigned char *found = memmem(device->rest.data, device->rest.length, mark, strlen(mark));
        if (found) {
            size_t taken = found + strlen(mark) - device->rest.data;
            device->rest.length -= taken;
            memmove(device->rest.data, device->rest.data + taken, device->rest.length);
            return;
        }
        ssize_t got = recv(device->socket, buffer, BUFFER, 0);
        if (got <= 0) fail("the server hung up before its welcome");
        add(&device->rest, buffer, got);
    }
}

/* Read up to the end of the welcome. */
static void read_welcome(struct device *device) {
    size_t at = 0, size;
    for (;;) {
        while (next_message(device->rest.data, device->rest.length, &at, &size) >= 0) {
            int is_welcome = memmem(device->rest.data + at, size, "\"welcome\"", 9) != NULL;
            at += size;
            if (is_welcome) {
                device->rest.length -= at;
                memmove(device->rest.data, device->rest.data + at, device->rest.length);
                return;
            }
        }
        ssize_t got = recv(device->socket, buffer, BUFFER, 0);
        if (got <= 0) fail("the server hung up instead of its welcome");
        add(&device->rest, buffer, got);
    }
}

int main(int argc, char **argv) {
    if (argc != 8) return 2;
    int port = atoi(argv[1]), count = atoi(argv[2]), pause_ms = atoi(argv[7]), open = 0, yes = 1;
    is_raw = !strcmp(argv[3], "raw");
    answer = answer_from(argv[6]);
    struct device *devices = calloc(count, sizeof *devices);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct rlimit files;
    struct timeval patience = {.tv_sec = 30};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    epoll = epoll_create1(0);
    while (open < count) {
        int end = open + AT_ONCE < count ? open + AT_ONCE : count;
        for (int i = open; i < end; i++) {
            int s = devices[i].socket = socket(AF_INET, SOCK_STREAM, 0);
            if (s < 0 || connect(s, (void *)&address, sizeof address)) fail("connect");
            setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
            setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
            send_to(&devices[i], (void *)argv[4], strlen(argv[4]));
        }
        for (int i = open; i < end; i++) {
            struct bytes greeting = {0};
            char hello[4096];
            if (*argv[4]) read_until(&devices[i], "\r\n\r\n");
            snprintf(hello, sizeof hello, argv[5], i);
            add_message(&greeting, hello);
            send_to(&devices[i], greeting.data, greeting.length);
            free(greeting.data);
        }
        for (int i = open; i < end; i++) {
            read_welcome(&devices[i]);
            free(devices[i].rest.length ? NULL : devices[i].rest.data);
            if (!devices[i].rest.length) devices[i].rest = (struct bytes){0};
            fcntl(devices[i].socket, F_SETFL, O_NONBLOCK);
            watch(&devices[i], EPOLLIN, EPOLL_CTL_ADD);
        }
        open = end;
        usleep(1000 * pause_ms);
    }
    printf("{\"connected\": %d}\n", count);
    fflush(stdout);
    struct device input = {.socket = 0};
    watch(&input, EPOLLIN, EPOLL_CTL_ADD);
    while (open) {
        struct epoll_event events[256];
        int ready = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            struct device *device = events[i].data.ptr;
            if (device == &input) return 0;
            if (events[i].events & EPOLLOUT) send_pending(device);
            if (events[i].events & ~EPOLLOUT && !receive(device)) {
                close(device->socket);
                open--;
            }
        }
    }
    return 0;
}
