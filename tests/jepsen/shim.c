/* Preloaded into a server: steps its clock and slows its disk, as a file of two 64-bit numbers says at the moment.

   The first number is added to the wall clock (nanoseconds), the second is slept before each fsync (microseconds). The
   monotonic clock stays true, as that of a machine does whose time is set. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000LL

static const int64_t nothing[2];
static const volatile int64_t *controls = nothing;
static int (*real_clock)(clockid_t, struct timespec *);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SHIM_CONTROLS");
    real_clock = dlsym(RTLD_NEXT, "clock_gettime");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *page = mmap(NULL, sizeof nothing, PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) controls = page;
    close(file);
}

int clock_gettime(clockid_t id, struct timespec *now) {
    if (!real_clock) begin();
    int result = real_clock(id, now);
    if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        int64_t all = now->tv_sec * SECOND_NS + now->tv_nsec + controls[0];
        now->tv_sec = all / SECOND_NS;
        now->tv_nsec = all % SECOND_NS;
    }
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise;
    (void)zone;
    int result = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return result;
}

time_t time(time_t *there) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (there) *there = now.tv_sec;
    return now.tv_sec;
}

static void delay(void) {
    if (controls[1]) usleep((useconds_t)controls[1]);
}

int fsync(int file) {
    delay();
    return real_fsync(file);
}

int fdatasync(int file) {
    delay();
    return real_fdatasync(file);
}
