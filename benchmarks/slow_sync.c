/* Preloaded into a server: each sync takes SLOW_SYNC_US microseconds longer and is counted.

   The count is 8 bytes at the start of the file SLOW_SYNC_COUNT, in the machine's byte order. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static _Atomic unsigned long long *count;
static struct timespec delay;

__attribute__((constructor)) static void begin(void)
{
    const char *microseconds = getenv("SLOW_SYNC_US");
    const char *path = getenv("SLOW_SYNC_COUNT");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *mapped = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    long long nanoseconds = microseconds ? atoll(microseconds) * 1000 : 0;

    if (file < 0 || mapped == MAP_FAILED)
        abort(); /* nobody must take what follows for a measurement */
    close(file);
    count = mapped;
    delay.tv_sec = nanoseconds / 1000000000;
    delay.tv_nsec = nanoseconds % 1000000000;
}

static void wait_and_count(void)
{
    atomic_fetch_add(count, 1);
    if (delay.tv_sec || delay.tv_nsec)
        clock_nanosleep(CLOCK_MONOTONIC, 0, &delay, NULL);
}

int fsync(int file)
{
    wait_and_count();
    return (int)syscall(SYS_fsync, file);
}

int fdatasync(int file)
{
    wait_and_count();
    return (int)syscall(SYS_fdatasync, file);
}
