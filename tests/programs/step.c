/* LD_PRELOAD: a wall clock that is ahead by the seconds in the file that STEP names. Of the one process alone. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
    long result = syscall(SYS_clock_gettime, clock, time);
    const char *path = getenv("STEP");
    if (result == 0 && clock == CLOCK_REALTIME && path) {
        char text[24] = {0};
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file >= 0 && read(file, text, sizeof text - 1) > 0)
            time->tv_sec += atol(text);
        if (file >= 0)
            close(file);
    }
    return result;
}
