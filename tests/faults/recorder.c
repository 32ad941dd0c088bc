/* Records what a process asks of the file system under one folder, in the order in which it was done.
 *
 * Preloaded into a test's child process. Every call is carried out and then appended to the trace, both under
 * one lock, so the trace is a total order. Environment: RECORDED_FOLDER (a prefix of absolute paths) and
 * RECORDED_TRACE (the file that is written).
 *
 * A record: type (1 byte), offset, payload length (8 bytes each), path length (4 bytes), all in the machine's
 * byte order, then path and payload. Types: C created, W written, T truncated to offset, S synced (file or
 * folder), U unlinked, R renamed (payload: new path), L linked (payload: new path).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static const char *folder;
static int trace = -1;

#define REAL(type, name, ...) static type (*real_##name)(__VA_ARGS__)
REAL(int, open64, const char *, int, ...);
REAL(int, openat64, int, const char *, int, ...);
REAL(ssize_t, write, int, const void *, size_t);
REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
REAL(int, ftruncate64, int, off64_t);
REAL(int, fsync, int);
REAL(int, fdatasync, int);
REAL(int, unlink, const char *);
REAL(int, rename, const char *, const char *);
REAL(int, link, const char *, const char *);
REAL(int, linkat, int, const char *, int, const char *, int);

__attribute__((constructor)) static void begin(void) {
#define FIND(name) real_##name = dlsym(RTLD_NEXT, #name)
  FIND(open64); FIND(openat64); FIND(write); FIND(pwrite64); FIND(ftruncate64); FIND(fsync); FIND(fdatasync);
  FIND(unlink); FIND(rename); FIND(link); FIND(linkat);
  folder = getenv("RECORDED_FOLDER");
  const char *to = getenv("RECORDED_TRACE");
  if (folder && to) trace = real_open64(to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void put(char type, const char *path, uint64_t offset, const void *payload, uint64_t length) {
  unsigned char head[21];
  uint32_t path_length = strlen(path);
  head[0] = type;
  memcpy(head + 1, &offset, 8);
  memcpy(head + 9, &length, 8);
  memcpy(head + 17, &path_length, 4);
  size_t total = sizeof head + path_length + length, done = 0;
  char *record = malloc(total);
  if (!record) abort();
  memcpy(record, head, sizeof head);
  memcpy(record + sizeof head, path, path_length);
  if (length) memcpy(record + sizeof head + path_length, payload, length);
  while (done < total) {
    ssize_t now = real_write(trace, record + done, total - done);
    if (now <= 0) abort();
    done += now;
  }
  free(record);
}

static int is_inside(const char *path) {
  size_t length = folder ? strlen(folder) : 0;
  return trace >= 0 && length && strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int path_of(int fd, char *path) {
  char name[64];
  snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(name, path, PATH_MAX - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return is_inside(path);
}

#define LOCK pthread_mutex_lock(&one_at_a_time)
#define UNLOCK pthread_mutex_unlock(&one_at_a_time)

static int opened(int at, const char *path, int flags, mode_t mode) {
  char full[PATH_MAX];
  struct stat before;
  if (trace < 0 || !(flags & (O_CREAT | O_TRUNC))) return real_openat64(at, path, flags, mode);
  LOCK;
  int was_there = fstatat(at, path, &before, 0) == 0;
  int fd = real_openat64(at, path, flags, mode);
  if (fd >= 0 && path_of(fd, full)) {
    if (!was_there) put('C', full, 0, NULL, 0);
    else if (flags & O_TRUNC) put('T', full, 0, NULL, 0);
  }
  UNLOCK;
  return fd;
}

#define MODE mode_t mode = 0; if (flags & O_CREAT) { va_list rest; va_start(rest, flags); mode = va_arg(rest, int); va_end(rest); }
int open(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE return opened(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE return opened(at, path, flags, mode); }

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
  char path[PATH_MAX];
  LOCK;
  ssize_t done = real_pwrite64(fd, data, length, offset);
  if (done > 0 && path_of(fd, path)) put('W', path, offset, data, done);
  UNLOCK;
  return done;
}
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return pwrite64(fd, data, length, offset); }

ssize_t write(int fd, const void *data, size_t length) {
  char path[PATH_MAX];
  if (trace < 0 || !path_of(fd, path)) return real_write(fd, data, length);
  LOCK;
  off64_t end = lseek64(fd, 0, SEEK_CUR);
  struct stat status;
  if ((fcntl(fd, F_GETFL) & O_APPEND) && fstat(fd, &status) == 0) end = status.st_size;
  ssize_t done = real_write(fd, data, length);
  if (done > 0) put('W', path, end, data, done);
  UNLOCK;
  return done;
}

int ftruncate64(int fd, off64_t length) {
  char path[PATH_MAX];
  LOCK;
  int result = real_ftruncate64(fd, length);
  if (result == 0 && path_of(fd, path)) put('T', path, length, NULL, 0);
  UNLOCK;
  return result;
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

static int synced(int fd, int (*real)(int)) {
  char path[PATH_MAX];
  LOCK;
  int result = real(fd);
  if (result == 0 && path_of(fd, path)) put('S', path, 0, NULL, 0);
  UNLOCK;
  return result;
}
int fsync(int fd) { return synced(fd, real_fsync); }
int fdatasync(int fd) { return synced(fd, real_fdatasync); }

int unlink(const char *path) {
  LOCK;
  int result = real_unlink(path);
  if (result == 0 && is_inside(path)) put('U', path, 0, NULL, 0);
  UNLOCK;
  return result;
}
int rename(const char *from, const char *to) {
  LOCK;
  int result = real_rename(from, to);
  if (result == 0 && is_inside(to)) put('R', from, 0, to, strlen(to));
  UNLOCK;
  return result;
}
int link(const char *from, const char *to) {
  LOCK;
  int result = real_link(from, to);
  if (result == 0 && is_inside(to)) put('L', from, 0, to, strlen(to));
  UNLOCK;
  return result;
}
int linkat(int a, const char *from, int b, const char *to, int flags) {
  LOCK;
  int result = real_linkat(a, from, b, to, flags);
  if (result == 0 && is_inside(to)) put('L', from, 0, to, strlen(to));
  UNLOCK;
  return result;
}
