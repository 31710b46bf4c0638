/* The wall clock of a process and its children, moved by an offset that can be set while they run.
 *
 * To be preloaded (LD_PRELOAD). WAV_CLOCK_OFFSET names a file that holds the offset: nanoseconds, int64, native order.
 * Monotonic clocks stay as they are. Waits until a wall time are moved back: the kernel knows nothing of the offset.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define A_WALL_TIME 1000000000 /* monotonic clocks count from the start of the machine: 30 years fewer */

static const int64_t none = 0;
static const volatile int64_t *offset = &none;

__attribute__((constructor)) static void map_offset(void)
{
    const char *path = getenv("WAV_CLOCK_OFFSET");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *page = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED)
        offset = page;
    close(file);
}

static struct timespec moved(struct timespec stamp, int64_t by)
{
    int64_t total = stamp.tv_sec * SECOND + stamp.tv_nsec + by;
    return (struct timespec){.tv_sec = total / SECOND, .tv_nsec = total % SECOND};
}

int clock_gettime(clockid_t clock, struct timespec *stamp)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, stamp);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        *stamp = moved(*stamp, *offset);
    return result;
}

int gettimeofday(struct timeval *restrict stamp, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    *stamp = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *stamp)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (stamp)
        *stamp = now.tv_sec;
    return now.tv_sec;
}

static struct timespec as_the_kernel_counts(const struct timespec *until)
{
    return until->tv_sec > A_WALL_TIME ? moved(*until, -*offset) : *until;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until)
{
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!real)
        real = (int (*)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *))dlvsym(
            RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!real) /* other processors know one version only */
        real = (int (*)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *))dlsym(
            RTLD_NEXT, "pthread_cond_timedwait");
    struct timespec end = as_the_kernel_counts(until);
    return real(condition, mutex, &end);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until)
{
    static int (*real)(sem_t *, const struct timespec *);
    if (!real)
        real = (int (*)(sem_t *, const struct timespec *))dlsym(RTLD_NEXT, "sem_timedwait");
    struct timespec end = as_the_kernel_counts(until);
    return real(semaphore, &end);
}
