/* Requests to one server, with heads of which no two need be the same: as many as it answers, or so many a second.
 *
 *   load PORT HEADS CONNECTIONS RATE WARMING SECONDS
 *
 * HEADS is a file of request heads, one after another, which are sent in turn. Wherever a head has ########, eight
 * hexadecimal digits are written that were not sent before. With a RATE of 0 each connection asks again as soon as it
 * is answered (a closed loop). Else arrivals are as independent as people's (Poisson), whatever becomes of them (an
 * open loop): each request has a moment at which it is due, and one that finds all connections busy waits for the
 * first that is free. Its time counts from when it was due, so that a server that stalls is not spared the requests
 * that would have come meanwhile. The first WARMING seconds are not counted. Tells in one line of JSON what came of it,
 * times in microseconds; ends with 1 where it could not connect. Linux only.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define MOST_CONNECTIONS 16384
#define LARGEST 16384
#define LAST_ANSWERS 5.0 /* seconds to wait for those under way at the end */
#define PLACE "########"
#define PLACES 8 /* of one head, at most */

struct head {
    char *text;
    size_t length;
    char *places[PLACES + 1]; /* ends with NULL */
};

struct connection {
    int socket;
    double due; /* of the request under way; below 0 when there is none */
    size_t filled;
    char received[LARGEST];
};

static struct connection connections[MOST_CONNECTIONS];
static int idle[MOST_CONNECTIONS]; /* a ring: in turn, so that none is idle for so long that a server closes it */
static int idle_first, idle_count;
static struct head *heads;
static size_t head_count, next_head;
static uint32_t number; /* of the next digits */
static double *waiting, *times; /* moments that are due and not sent; seconds that answers took */
static size_t waiting_first, waiting_last, time_count, time_room;
static long whole, unchanged, refused, broken;
static double counted_from, counted_until;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static char *contents(const char *path, size_t *size) {
    FILE *file = fopen(path, "r");
    char *text;
    if (!file || fseek(file, 0, SEEK_END)) die(path);
    *size = (size_t)ftell(file);
    rewind(file);
    text = malloc(*size + 1);
    if (!text || fread(text, 1, *size, file) != *size) die(path);
    fclose(file);
    return text;
}

static void find_places(struct head *head) {
    int count = 0;
    char *at = head->text, *end = head->text + head->length;
    while (count < PLACES && (at = memmem(at, (size_t)(end - at), PLACE, sizeof PLACE - 1))) {
        head->places[count++] = at;
        at += sizeof PLACE - 1;
    }
    head->places[count] = NULL;
}

static void read_heads(const char *path) {
    size_t size, room = 0;
    char *text = contents(path, &size), *end, *last = text + size;
    while ((end = memmem(text, (size_t)(last - text), "\r\n\r\n", 4))) {
        if (head_count == room && !(heads = realloc(heads, (room = 2 * room + 1024) * sizeof *heads))) die("realloc");
        heads[head_count] = (struct head){.text = text, .length = (size_t)(end + 4 - text)};
        find_places(&heads[head_count++]);
        text = end + 4;
    }
    if (!head_count) exit(1);
}

/* The next head; its places get digits that no other has: an odd factor maps numbers to numbers one to one. */
static struct head *fresh_head(void) {
    static const char digits[] = "0123456789abcdef";
    struct head *head = &heads[next_head];
    next_head = next_head + 1 == head_count ? 0 : next_head + 1;
    for (char **place = head->places; *place; place++) {
        uint32_t value = number++ * 2654435761u;
        for (int each = 0; each < 8; each++, value >>= 4) (*place)[each] = digits[value & 15];
    }
    return head;
}

static int connected(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int number = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (number < 0 || connect(number, (struct sockaddr *)&address, sizeof address) < 0) die("connect");
    setsockopt(number, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return number;
}

static void give_back(int number) { idle[(idle_first + idle_count++) % MOST_CONNECTIONS] = number; }

static struct connection *taken(void) {
    int number = idle[idle_first];
    idle_first = (idle_first + 1) % MOST_CONNECTIONS;
    idle_count--;
    return &connections[number];
}

static void ask(struct connection *each, double due) {
    struct head *head = fresh_head();
    each->due = due;
    each->filled = 0;
    if (send(each->socket, head->text, head->length, MSG_NOSIGNAL) != (ssize_t)head->length) {
        broken++;
        each->due = -1; /* and is used no more */
    }
}

/* Whether all of an answer is there: a 304 ends with its head (RFC 9110 §15.4.5). */
static int complete(struct connection *each) {
    char *line = each->received, *last = line + each->filled, *end = memmem(line, each->filled, "\r\n\r\n", 4);
    if (!end) return 0;
    if (!memcmp(line + 9, "304", 3)) return 1;
    while (line < end) {
        if (!strncasecmp(line, "content-length:", 15)) return last >= end + 4 + strtoul(line + 15, NULL, 10);
        line = (char *)memchr(line, '\n', (size_t)(last - line)) + 1;
    }
    return 0;
}

static void count(struct connection *each, double at) {
    whole += !memcmp(each->received + 9, "200", 3);
    unchanged += !memcmp(each->received + 9, "304", 3);
    refused += memcmp(each->received + 9, "200", 3) && memcmp(each->received + 9, "304", 3);
    if (each->due < counted_from || each->due >= counted_until || at >= counted_until + LAST_ANSWERS) return;
    if (time_count == time_room && !(times = realloc(times, (time_room = 2 * time_room + 1024) * sizeof *times)))
        die("realloc");
    times[time_count++] = at - each->due;
}

static void receive(struct connection *each) {
    ssize_t got = recv(each->socket, each->received + each->filled, LARGEST - each->filled, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        if (each->due >= 0) broken++;
        each->due = -1;
        close(each->socket);
        return;
    }
    each->filled += (size_t)got;
    if (each->due < 0 || !complete(each)) return;
    count(each, now());
    each->due = -1;
    give_back((int)(each - connections));
}

static int ascending(const void *one, const void *other) {
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static double quantile(double share) {
    size_t rank = (size_t)ceil(share * (double)time_count);
    return time_count ? times[rank ? rank - 1 : 0] * 1e6 : 0;
}

/* Notes what has become due by now; returns when the next will be. */
static double note_due(double due, double rate) {
    static size_t room;
    for (double at = now(); due <= at && due < counted_until; due += -log(1.0 - drand48()) / rate) {
        if (waiting_last == room && !(waiting = realloc(waiting, (room = 2 * room + 1024) * sizeof *waiting)))
            die("realloc");
        waiting[waiting_last++] = due;
    }
    return due;
}

int main(int argc, char **words) {
    static struct epoll_event events[1024];
    int poll = epoll_create1(0), wanted;
    double rate, due;
    if (argc != 7) return 2;
    wanted = atoi(words[3]);
    rate = atof(words[4]);
    if (wanted < 1 || wanted > MOST_CONNECTIONS || rate < 0) return 2;
    prctl(PR_SET_TIMERSLACK, 1UL);
    read_heads(words[2]);
    for (int each = 0; each < wanted; each++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[each]};
        connections[each].socket = connected(atoi(words[1]));
        connections[each].due = -1;
        give_back(each);
        epoll_ctl(poll, EPOLL_CTL_ADD, connections[each].socket, &event);
    }
    due = now();
    number = (uint32_t)(due * 1e6);
    counted_from = due + atof(words[5]);
    counted_until = counted_from + atof(words[6]);
    srand48(1);
    for (double at = due; (at = now()) < counted_until + LAST_ANSWERS;) {
        if (rate > 0) due = note_due(due, rate);
        if (rate > 0)
            while (waiting_first < waiting_last && idle_count) ask(taken(), waiting[waiting_first++]);
        else
            for (int free = idle_count; free && at < counted_until; free--) ask(taken(), now());
        if (at >= counted_until && waiting_first == waiting_last && idle_count == wanted) break; /* all answered */
        double pause = (rate > 0 && due < counted_until ? due : counted_until + LAST_ANSWERS) - now();
        if (pause < 0) pause = 0;
        struct timespec timeout = {(time_t)pause, (long)((pause - floor(pause)) * 1e9)};
        int ready = epoll_pwait2(poll, events, 1024, &timeout, NULL);
        for (int each = 0; each < ready; each++) receive(events[each].data.ptr);
    }
    for (int each = 0; each < wanted; each++) broken += connections[each].due >= 0;
    broken += (long)(waiting_last - waiting_first);
    qsort(times, time_count, sizeof *times, ascending);
    printf("{\"requests\": %zu, \"seconds\": %f, \"p50\": %.1f, \"p99\": %.1f, \"whole\": %ld, \"unchanged\": %ld, "
           "\"refused\": %ld, \"broken\": %ld}\n",
           time_count, counted_until - counted_from, quantile(0.5), quantile(0.99), whole, unchanged, refused, broken);
    return 0;
}
