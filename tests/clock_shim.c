/* A wall clock that a test can step: CLOCK_REALTIME as libc tells it, plus the microseconds in the file CLOCK_SHIM
   names (8 bytes, native order). The monotonic clock is left alone, as a step leaves it. For LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define MICRO 1000000LL

static int64_t none;
static volatile int64_t *offset = &none;
static int (*real_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void set_up(void) {
    real_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    const char *path = getenv("CLOCK_SHIM");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0) return;
    void *shared = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (shared != MAP_FAILED) offset = shared;
}

static int64_t now(void) {
    struct timespec real;
    real_gettime(CLOCK_REALTIME, &real);
    return real.tv_sec * MICRO + real.tv_nsec / 1000 + *offset;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    if (!real_gettime) set_up();
    if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE) return real_gettime(clock, at);
    int64_t shown = now();
    at->tv_sec = shown / MICRO;
    at->tv_nsec = shown % MICRO * 1000;
    return 0;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    (void)zone;
    if (!real_gettime) set_up();
    int64_t shown = now();
    at->tv_sec = shown / MICRO;
    at->tv_usec = shown % MICRO;
    return 0;
}

time_t time(time_t *at) {
    if (!real_gettime) set_up();
    time_t shown = now() / MICRO;
    if (at) *at = shown;
    return shown;
}
