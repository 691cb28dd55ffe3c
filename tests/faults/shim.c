/* A layer between a daemon and the kernel, loaded with LD_PRELOAD, that makes chosen calls on the database files fail, and
 * sets the system's clock for the daemon alone, as if somebody had set it: the clock of the boot goes on.
 *
 * FAULTS_FOLDER names the data folder. FAULTS_CONTROL names a file of one `struct control`, which the test changes at any
 * time. FAULTS_TRACE, if set, names a file for every write, sync and truncation of database and WAL, so that a test can
 * tell afterwards what had reached the disk: see power.py. A write stands there before it is made, a sync after it: of
 * what a kill cuts short the trace says neither too much nor, of what counts, too little.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, TRUNCATE = 4 };
enum { DATABASE = 1, WAL = 2, SHM = 4 };

struct control {
    uint32_t calls; /* which calls fail */
    uint32_t files; /* on which files */
    int32_t error;  /* with which errno; 0: the process is killed instead, a write when half of it is done */
    uint32_t skip;  /* how many of those calls go through before */
    uint32_t hits;  /* how many have failed */
    uint32_t unused;
    int64_t ahead;  /* by how many seconds the system's clock, and no other, stands ahead of the right time */
};

struct record {
    uint32_t call, file;
    int64_t offset, length, failed;
};

static struct control *control;
static int trace = -1;
static char folder[4096];
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_ftruncate)(int, off_t);

static void *next(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found)
        abort();
    return found;
}

__attribute__((constructor)) static void begin(void) {
    real_write = next("write");
    real_pwrite = next("pwrite64");
    real_fsync = next("fsync");
    real_fdatasync = next("fdatasync");
    real_ftruncate = next("ftruncate64");
    const char *named = getenv("FAULTS_FOLDER"), *path = getenv("FAULTS_CONTROL"), *traced = getenv("FAULTS_TRACE");
    if (!named || !path)
        return;
    snprintf(folder, sizeof folder, "%s/sirrd.db", named);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *mapped = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED)
        abort();
    close(fd);
    control = mapped;
    if (traced && (trace = open(traced, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) < 0)
        abort();
}

static uint32_t file_of(int fd) {
    char link[64], path[4200];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    size_t known = strlen(folder);
    if (length < (ssize_t)known || memcmp(path, folder, known))
        return 0;
    path[length] = 0;
    const char *suffix = path + known;
    return !*suffix ? DATABASE : !strcmp(suffix, "-wal") ? WAL : !strcmp(suffix, "-shm") ? SHM : 0;
}

static int is_hit(uint32_t call, uint32_t file) {
    if (!(control->calls & call) || !(control->files & file))
        return 0;
    if (control->skip) {
        control->skip--;
        return 0;
    }
    control->hits++;
    return 1;
}

static void keep(uint32_t call, uint32_t file, off_t offset, const void *data, int64_t length, int failed) {
    struct record head = {call, file, offset, length, failed};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)data, data ? (size_t)length : 0}};
    if (trace >= 0 && file != SHM && writev(trace, parts, 2) != (ssize_t)(parts[0].iov_len + parts[1].iov_len))
        abort();
}

static ssize_t write_at(int fd, const void *data, size_t size, off_t offset, uint32_t file) {
    pthread_mutex_lock(&order);
    ssize_t done = -1;
    int error;
    if (is_hit(WRITE, file)) {
        if (!control->error) {
            done = real_pwrite(fd, data, size / 2, offset);
            kill(getpid(), SIGKILL);
        }
        error = control->error;
    } else {
        keep(WRITE, file, offset, data, (int64_t)size, 0);
        done = real_pwrite(fd, data, size, offset);
        error = errno;
        if (trace >= 0 && done != (ssize_t)size)
            abort(); /* a disk that fails by itself cannot be told of here */
    }
    pthread_mutex_unlock(&order);
    errno = error;
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    uint32_t file = control ? file_of(fd) : 0;
    return file ? write_at(fd, data, size, offset, file) : real_pwrite(fd, data, size, offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    return pwrite64(fd, data, size, offset);
}

/* A SQLite that was built without pwrite seeks and writes. */
ssize_t write(int fd, const void *data, size_t size) {
    uint32_t file = control ? file_of(fd) : 0;
    if (!file)
        return real_write(fd, data, size);
    off_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t done = write_at(fd, data, size, offset, file);
    if (done > 0)
        lseek(fd, offset + done, SEEK_SET);
    return done;
}

static int sync_with(int (*real)(int), int fd) {
    uint32_t file = control ? file_of(fd) : 0;
    if (!file)
        return real(fd);
    pthread_mutex_lock(&order);
    int error = 0;
    if (is_hit(SYNC, file)) {
        if (!control->error)
            kill(getpid(), SIGKILL);
        error = control->error;
    } else if (real(fd)) {
        error = errno;
    }
    keep(SYNC, file, 0, NULL, 0, error);
    pthread_mutex_unlock(&order);
    errno = error;
    return error ? -1 : 0;
}

int fsync(int fd) {
    return sync_with(real_fsync, fd);
}

int fdatasync(int fd) {
    return sync_with(real_fdatasync, fd);
}

int ftruncate64(int fd, off64_t length) {
    uint32_t file = control ? file_of(fd) : 0;
    if (!file)
        return real_ftruncate(fd, length);
    pthread_mutex_lock(&order);
    int error = 0;
    if (is_hit(TRUNCATE, file)) {
        if (!control->error)
            kill(getpid(), SIGKILL);
        error = control->error;
    } else if (real_ftruncate(fd, length)) {
        error = errno;
    } else {
        keep(TRUNCATE, file, length, NULL, 0, 0);
    }
    pthread_mutex_unlock(&order);
    errno = error;
    return error ? -1 : 0;
}

int ftruncate(int fd, off_t length) {
    return ftruncate64(fd, length);
}

static int is_settable(clockid_t id) {
    return id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE || id == CLOCK_TAI;
}

int clock_gettime(clockid_t id, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, id, now);
    if (!failed && control && is_settable(id))
        now->tv_sec += control->ahead;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec found;
    if (clock_gettime(CLOCK_REALTIME, &found))
        return -1;
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *kept) {
    struct timespec found;
    if (clock_gettime(CLOCK_REALTIME, &found))
        return -1;
    if (kept)
        *kept = found.tv_sec;
    return found.tv_sec;
}
