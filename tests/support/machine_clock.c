/* Preloaded into a process: adds two numbers of nanoseconds in a shared file to the clocks that it reads. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *added; /* to the wall clock; and to it and the uptime, as by a suspension */

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("MACHINE_CLOCK");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0) return;
    void *shared = mmap(NULL, 2 * sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    if (shared != MAP_FAILED) added = shared;
    close(file);
}

static int (*machine)(clockid_t, struct timespec *);

int clock_gettime(clockid_t clock, struct timespec *at) {
    if (!machine) machine = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = machine(clock, at);
    if (failed || !added) return failed;
    int64_t plus = 0;
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) plus = added[0] + added[1];
    if (clock == CLOCK_BOOTTIME) plus = added[1];
    int64_t ns = (int64_t)at->tv_sec * 1000000000 + at->tv_nsec + plus;
    at->tv_sec = ns / 1000000000;
    at->tv_nsec = ns % 1000000000;
    return 0;
}

int gettimeofday(struct timeval *at, void *zone) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    at->tv_sec = precise.tv_sec;
    at->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (at) *at = precise.tv_sec;
    return precise.tv_sec;
}
