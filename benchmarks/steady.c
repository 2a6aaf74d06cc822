/* A steady rate of requests, whatever becomes of them: an open loop, with arrivals as independent as people's (Poisson).
 *
 *   steady PORT KEY FILE CONNECTIONS RATE WARMING SECONDS
 *
 * Requests take the lines of FILE in turn as their targets. Each has a moment at which it is due; one that finds all
 * connections busy waits for the first that is free, and its time counts from when it was due, so that a server that
 * stalls is not spared the requests that would have come meanwhile. The first WARMING seconds are not counted. Tells in
 * one line of JSON what came of it, times in microseconds; ends with 1 where it could not connect. Linux only.
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

#define MOST_CONNECTIONS 1024
#define LARGEST 65536
#define LAST_ANSWERS 5.0 /* seconds to wait for those under way at the end */

struct connection {
    int socket;
    double due; /* of the request under way; below 0 when there is none */
    size_t filled;
    char received[LARGEST + 1];
};

static struct connection connections[MOST_CONNECTIONS];
static int idle[MOST_CONNECTIONS]; /* a ring: in turn, so that none is idle for so long that a server closes it */
static int idle_first, idle_count;
static char **requests;
static size_t request_count, next_request;
static double *waiting, *times; /* moments that are due and not sent; seconds that answers took */
static size_t waiting_first, waiting_last, time_count;
static long refused, broken;
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

static void read_requests(const char *path, const char *port, const char *key) {
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t size = 0;
    ssize_t length;
    if (!file) die(path);
    while ((length = getline(&line, &size, file)) > 0) {
        if (line[length - 1] == '\n') line[--length] = 0;
        if (!length) continue;
        requests = realloc(requests, (request_count + 1) * sizeof *requests);
        if (asprintf(&requests[request_count++], "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nX-API-Key: %s\r\n\r\n", line,
                     port, key) < 0)
            die("asprintf");
    }
    free(line);
    fclose(file);
    if (!request_count) exit(1);
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

/* Sends what is due for as long as there are connections. */
static void send_due(void) {
    while (waiting_first < waiting_last && idle_count) {
        struct connection *each = taken();
        const char *text = requests[next_request++ % request_count];
        each->due = waiting[waiting_first++];
        each->filled = 0;
        if (send(each->socket, text, strlen(text), MSG_NOSIGNAL) != (ssize_t)strlen(text)) {
            broken++;
            each->due = -1; /* and is used no more */
        }
    }
}

/* Whether all of an answer is there. */
static int complete(struct connection *each) {
    char *end, *length;
    each->received[each->filled] = 0;
    end = strstr(each->received, "\r\n\r\n");
    if (!end) return 0;
    length = strcasestr(each->received, "\r\ncontent-length:");
    if (!length || length > end) return 0;
    return each->filled >= (size_t)(end + 4 - each->received) + strtoul(length + 17, NULL, 10);
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
    if (each->due >= counted_from && each->due < counted_until) times[time_count++] = now() - each->due;
    if (strncmp(each->received, "HTTP/1.1 200", 12)) refused++;
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

int main(int count, char **words) {
    struct epoll_event events[256];
    int poll = epoll_create1(0), wanted;
    double rate, due, ends;
    if (count != 8) return 2;
    wanted = atoi(words[4]);
    rate = atof(words[5]);
    if (wanted < 1 || wanted > MOST_CONNECTIONS || rate <= 0) return 2;
    prctl(PR_SET_TIMERSLACK, 1UL);
    read_requests(words[3], words[1], words[2]);
    for (int each = 0; each < wanted; each++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[each]};
        connections[each].socket = connected(atoi(words[1]));
        connections[each].due = -1;
        give_back(each);
        epoll_ctl(poll, EPOLL_CTL_ADD, connections[each].socket, &event);
    }
    due = now();
    counted_from = due + atof(words[6]);
    counted_until = counted_from + atof(words[7]);
    ends = counted_until + LAST_ANSWERS;
    size_t most = (size_t)(rate * (counted_until - due) * 1.5) + 1000;
    waiting = malloc(most * sizeof *waiting);
    times = malloc(most * sizeof *times);
    srand48(1);
    for (double at = due; (at = now()) < ends;) {
        while (due <= at && due < counted_until && waiting_last < most) {
            waiting[waiting_last++] = due;
            due += -log(1.0 - drand48()) / rate;
        }
        send_due();
        if (due >= counted_until && waiting_first == waiting_last && idle_count == wanted) break; /* all answered */
        double pause = (due < counted_until ? due : ends) - now();
        if (pause < 0) pause = 0;
        struct timespec timeout = {(time_t)pause, (long)((pause - floor(pause)) * 1e9)};
        int ready = epoll_pwait2(poll, events, 256, &timeout, NULL);
        for (int each = 0; each < ready; each++) receive(events[each].data.ptr);
    }
    for (int each = 0; each < wanted; each++) broken += connections[each].due >= 0;
    broken += (long)(waiting_last - waiting_first);
    qsort(times, time_count, sizeof *times, ascending);
    printf("{\"requests\": %zu, \"seconds\": %f, \"p50\": %.1f, \"p99\": %.1f, \"refused\": %ld, \"broken\": %ld}\n",
           time_count, counted_until - counted_from, quantile(0.5), quantile(0.99), refused, broken);
    return 0;
}
