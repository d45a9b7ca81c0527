// A disk that loses power and fails on demand, preloaded into a server: test only, Linux only.
//
// It watches the files of one folder. Writes go to the real files at once; of every page that was written since its
// file was last synced the old content is kept, and of every file that was made, removed or renamed since its folder was
// last synced how it was before. When power goes, some of that is put back, page by page and sector by sector, as the
// seed says, and the process ends. What had been synced is never touched.
//
//   POWERLOSS_DIR          the folder, as a real path
//   POWERLOSS_SEED         decides what survives
//   POWERLOSS_AFTER        power goes at this call, counted from 1, that would change a watched file; without it never
//   POWERLOSS_IGNORE_SYNC  syncs do nothing: the control, on which everything may be lost
//   POWERLOSS_FAIL         CALL:SUFFIX:ERRNO:AFTER; from the AFTER-th CALL (open, write, sync) on a watched file whose
//                          name ends in SUFFIX, that call fails with ERRNO, and so do all later ones
//
// Files named *-shm are not watched, since SQLite maps them into memory and makes them anew: they go when power goes.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum { PAGE = 4096, SECTOR = 512, BUCKETS = 1024 };

// A page as it was when its file was last synced.
struct page {
    struct page *next;
    long number;
    unsigned long order;
    char before[PAGE];
};

// A watched file. `fd` is our own and never closed: that would drop the locks that the process has on the file.
struct file {
    struct file *next;
    ino_t inode;
    int fd;
    int dirty;
    off_t synced_size;
    struct page *pages[BUCKETS];
};

enum change_kind { CREATED, REMOVED, RENAMED };

// A change of the folder that was not synced. `backup` is another name of a file that was removed or replaced.
struct change {
    struct change *previous, *next;
    enum change_kind kind;
    char *path, *from, *backup;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH_MAX];
static size_t folder_length;
static struct file *files;
static struct change *oldest, *newest;
static unsigned long calls, lose_after, writes, backups;
static uint64_t random_state;
static int ignore_sync;

static char fail_call[16], fail_suffix[64];
static int fail_errno;
static long fail_after, fail_seen;

static uint64_t draw(uint64_t below) {
    uint64_t z = (random_state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % below;
}

static void give_up(const char *what) {
    dprintf(2, "powerloss: %s: %s\n", what, strerror(errno));
    _exit(99);
}

static int ends_with(const char *text, const char *suffix) {
    size_t length = strlen(text), end = strlen(suffix);
    return length >= end && strcmp(text + length - end, suffix) == 0;
}

static int is_watched(const char *path) {
    return folder_length && strncmp(path, folder, folder_length) == 0 && path[folder_length] == '/'
        && !ends_with(path, "-shm");
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return 1;
}

// Callers name files of the folder by absolute paths or relative to where the process runs.
static void absolute(const char *path, char *out) {
    if (path[0] == '/') {
        snprintf(out, PATH_MAX, "%s", path);
        return;
    }
    char here[PATH_MAX];
    if (!getcwd(here, sizeof here)) give_up("getcwd");
    if (snprintf(out, PATH_MAX, "%s/%s", here, path) >= PATH_MAX) give_up("a path is too long");
}

static struct file *find(ino_t inode) {
    for (struct file *file = files; file; file = file->next)
        if (file->inode == inode) return file;
    return NULL;
}

static struct file *watch(int fd, off_t synced_size) {
    struct stat stat;
    if (fstat(fd, &stat)) give_up("fstat");
    struct file *file = find(stat.st_ino);
    if (file) return file;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    file = calloc(1, sizeof *file);
    file->inode = stat.st_ino;
    file->fd = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDWR | O_CLOEXEC, 0);
    if (file->fd < 0) give_up("opening a watched file again");
    file->synced_size = synced_size;
    file->next = files;
    return files = file;
}

// The watched file behind `fd`, if it is one. What it held when we first see it counts as synced.
static struct file *watched(int fd, char *path) {
    struct stat stat;
    if (!folder_length || fd < 3 || fstat(fd, &stat) || !S_ISREG(stat.st_mode)) return NULL;
    if (!path_of(fd, path)) return NULL;
    struct file *file = find(stat.st_ino);
    if (file) return file;
    return is_watched(path) ? watch(fd, stat.st_size) : NULL;
}

static void remember(struct file *file, off_t from, off_t to) {
    for (long number = from / PAGE; number * PAGE < to; number++) {
        struct page **bucket = &file->pages[number % BUCKETS], *page = *bucket;
        while (page && page->number != number) page = page->next;
        if (page) continue;
        page = calloc(1, sizeof *page);
        page->number = number;
        page->order = ++writes;
        if (pread(file->fd, page->before, PAGE, (off_t)number * PAGE) < 0) give_up("reading a page");
        page->next = *bucket;
        *bucket = page;
    }
    file->dirty = 1;
}

static void forget(struct file *file) {
    for (int bucket = 0; bucket < BUCKETS; bucket++) {
        for (struct page *page = file->pages[bucket], *next; page; page = next) {
            next = page->next;
            free(page);
        }
        file->pages[bucket] = NULL;
    }
    struct stat stat;
    if (fstat(file->fd, &stat)) give_up("fstat");
    file->synced_size = stat.st_size;
    file->dirty = 0;
}

static void changed(enum change_kind kind, const char *path, const char *from, const char *backup) {
    struct change *change = calloc(1, sizeof *change);
    change->kind = kind;
    change->path = strdup(path);
    change->from = from ? strdup(from) : NULL;
    change->backup = backup ? strdup(backup) : NULL;
    change->previous = newest;
    if (newest) newest->next = change;
    else oldest = change;
    newest = change;
}

static void folder_synced(void) {
    for (struct change *change = oldest, *next; change; change = next) {
        next = change->next;
        if (change->backup) syscall(SYS_unlinkat, AT_FDCWD, change->backup, 0);
        free(change->path), free(change->from), free(change->backup), free(change);
    }
    oldest = newest = NULL;
}

// Gives the file at `path` a second name outside the folder, to bring it back from.
static int back_up(const char *path, char *backup) {
    snprintf(backup, PATH_MAX, "%.3000s.removed", folder);
    syscall(SYS_mkdirat, AT_FDCWD, backup, 0700);
    snprintf(backup, PATH_MAX, "%.3000s.removed/%d-%lu", folder, (int)getpid(), ++backups);
    return link(path, backup) == 0;
}

// What becomes of the pages that were written since the last sync.
enum fate { ANY, NONE, IN_ORDER, MOST };

static void put_back(struct file *file, struct page *page, int sector, int count) {
    char *from = page->before + sector * SECTOR;
    off_t at = (off_t)page->number * PAGE + sector * SECTOR;
    if (syscall(SYS_pwrite64, file->fd, from, (size_t)count * SECTOR, at) < 0) give_up("putting a page back");
}

static unsigned long lose_page(struct file *file, struct page *page, enum fate fate, unsigned long cut) {
    int kept = fate == NONE ? 0 : fate == IN_ORDER ? page->order < cut : fate == MOST ? draw(8) != 0 : draw(3) == 0;
    int torn = fate == IN_ORDER ? page->order == cut : fate != NONE && draw(2) == 0;
    if (kept) return 0;
    if (!torn) {
        put_back(file, page, 0, PAGE / SECTOR);
        return 1;
    }
    for (int sector = 0; sector < PAGE / SECTOR; sector++)
        if (draw(2)) put_back(file, page, sector, 1);
    return 1;
}

static unsigned long lose_file(struct file *file, enum fate fate, unsigned long cut) {
    unsigned long lost = 0;
    struct stat stat;
    if (fstat(file->fd, &stat)) give_up("fstat");
    off_t size = stat.st_size, was = file->synced_size;
    off_t end = fate == NONE ? was : draw(2) ? was : size;
    for (int bucket = 0; bucket < BUCKETS; bucket++)
        for (struct page *page = file->pages[bucket]; page; page = page->next) {
            // A truncation that is undone brings back what was there.
            int undone = (off_t)page->number * PAGE + PAGE > size && end > size;
            lost += lose_page(file, page, undone ? NONE : fate, cut);
        }
    if (syscall(SYS_ftruncate, file->fd, end)) give_up("putting a size back");
    return lost;
}

static void undo(struct change *change) {
    if (change->kind == CREATED) syscall(SYS_unlinkat, AT_FDCWD, change->path, 0);
    if (change->kind == RENAMED) syscall(SYS_renameat, AT_FDCWD, change->path, AT_FDCWD, change->from);
    if (change->backup) syscall(SYS_renameat, AT_FDCWD, change->backup, AT_FDCWD, change->path);
}

static void remove_shared_memory(void) {
    DIR *entries = opendir(folder);
    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        char path[PATH_MAX];
        if (!ends_with(entry->d_name, "-shm")) continue;
        if (snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) < PATH_MAX)
            syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    }
}

static void lose_power(void) {
    enum fate fate = (enum fate)draw(4);
    unsigned long cut = draw(writes + 2), lost = 0, undone = 0, changes = 0;
    for (struct file *file = files; file; file = file->next)
        if (file->dirty) lost += lose_file(file, fate, cut);
    // Folders keep the order of their changes, as the journals of file systems do.
    for (struct change *change = oldest; change; change = change->next) changes++;
    unsigned long keep = fate == NONE ? 0 : draw(changes + 1);
    for (struct change *change = newest; change && undone < changes - keep; change = change->previous, undone++)
        undo(change);
    remove_shared_memory();
    dprintf(2, "powerloss: at call %lu; fate %d; pages put back: %lu; changes of the folder undone: %lu of %lu\n", calls,
            (int)fate, lost, undone, changes);
    _exit(137);
}

// A call that would change a watched file. Power goes before it, never in it: a torn write is one that was not synced.
static void count_call(void) {
    if (++calls == lose_after) lose_power();
}

static int fails(const char *call, const char *path) {
    if (!fail_after || strcmp(call, fail_call) || !ends_with(path, fail_suffix)) return 0;
    if (++fail_seen < fail_after) return 0;
    errno = fail_errno;
    return 1;
}

static ssize_t write_at(int fd, const void *bytes, size_t count, off_t at, int positioned) {
    char path[PATH_MAX];
    pthread_mutex_lock(&lock);
    struct file *file = watched(fd, path);
    ssize_t done;
    if (file && (count_call(), fails("write", path))) {
        done = -1;
    } else {
        if (file) {
            struct stat stat;
            if (fstat(fd, &stat)) give_up("fstat");
            off_t from = positioned ? at
                : fcntl(fd, F_GETFL) & O_APPEND ? stat.st_size
                                                : lseek(fd, 0, SEEK_CUR);
            if (count) remember(file, from < stat.st_size ? from : stat.st_size, from + (off_t)count);
        }
        done = positioned ? syscall(SYS_pwrite64, fd, bytes, count, at) : syscall(SYS_write, fd, bytes, count);
    }
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

static int truncate_to(int fd, off_t length) {
    char path[PATH_MAX];
    pthread_mutex_lock(&lock);
    struct file *file = watched(fd, path);
    int done;
    if (file && (count_call(), fails("write", path))) {
        done = -1;
    } else {
        struct stat stat;
        if (file) {
            if (fstat(fd, &stat)) give_up("fstat");
            off_t low = length < stat.st_size ? length : stat.st_size;
            off_t high = length < stat.st_size ? stat.st_size : length;
            remember(file, low, high);
        }
        done = (int)syscall(SYS_ftruncate, fd, length);
    }
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

static int sync_fd(int fd, long number) {
    char path[PATH_MAX];
    struct stat stat;
    if (!folder_length || fstat(fd, &stat)) return (int)syscall(number, fd);
    pthread_mutex_lock(&lock);
    int done = 0;
    if (S_ISDIR(stat.st_mode)) {
        if (path_of(fd, path) && strcmp(path, folder) == 0) {
            count_call();
            if (fails("sync", path)) done = -1;
            else if (!ignore_sync) folder_synced();
        }
    } else {
        struct file *file = watched(fd, path);
        if (file) {
            count_call();
            if (fails("sync", path)) done = -1;
            else if (!ignore_sync) forget(file);
        }
    }
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

static int open_at(int at, const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    if (!folder_length || at != AT_FDCWD) return (int)syscall(SYS_openat, at, path, flags, mode);
    absolute(path, whole);
    if (!is_watched(whole)) return (int)syscall(SYS_openat, at, path, flags, mode);
    pthread_mutex_lock(&lock);
    int is_write = (flags & O_ACCMODE) != O_RDONLY, made = (flags & O_CREAT) && access(whole, F_OK) != 0;
    int fd;
    if (made) count_call();
    if (is_write && fails("open", whole)) {
        fd = -1;
    } else {
        fd = (int)syscall(SYS_openat, at, path, flags, mode);
        if (fd >= 0 && made) {
            watch(fd, 0);
            changed(CREATED, whole, NULL, NULL);
        }
    }
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

ssize_t write(int fd, const void *bytes, size_t count) { return write_at(fd, bytes, count, 0, 0); }
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return write_at(fd, bytes, count, at, 1); }
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) { return write_at(fd, bytes, count, at, 1); }
int ftruncate(int fd, off_t length) { return truncate_to(fd, length); }
int ftruncate64(int fd, off64_t length) { return truncate_to(fd, length); }
int fsync(int fd) { return sync_fd(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_fd(fd, SYS_fdatasync); }

#define OPEN(name, arguments, at)                                                                                      \
    int name arguments {                                                                                               \
        mode_t mode = 0;                                                                                               \
        if (flags & (O_CREAT | __O_TMPFILE)) {                                                                         \
            va_list rest;                                                                                              \
            va_start(rest, flags);                                                                                     \
            mode = va_arg(rest, mode_t);                                                                               \
            va_end(rest);                                                                                              \
        }                                                                                                              \
        return open_at(at, path, flags, mode);                                                                         \
    }
OPEN(open, (const char *path, int flags, ...), AT_FDCWD)
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD)
OPEN(openat, (int at, const char *path, int flags, ...), at)
OPEN(openat64, (int at, const char *path, int flags, ...), at)

int unlink(const char *path) {
    char whole[PATH_MAX], backup[PATH_MAX];
    if (!folder_length || (absolute(path, whole), !is_watched(whole)))
        return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    pthread_mutex_lock(&lock);
    count_call();
    int saved = back_up(whole, backup);
    int done = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0), error = errno;
    if (done == 0) changed(REMOVED, whole, NULL, saved ? backup : NULL);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

int rename(const char *from, const char *to) {
    char whole_from[PATH_MAX], whole_to[PATH_MAX], backup[PATH_MAX];
    if (!folder_length || (absolute(from, whole_from), absolute(to, whole_to), !is_watched(whole_to)))
        return (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
    pthread_mutex_lock(&lock);
    count_call();
    int saved = back_up(whole_to, backup);
    int done = (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to), error = errno;
    if (done == 0) changed(RENAMED, whole_to, whole_from, saved ? backup : NULL);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

static unsigned long number_of(const char *name) {
    const char *text = getenv(name);
    return text ? strtoul(text, NULL, 10) : 0;
}

__attribute__((constructor)) static void start(void) {
    const char *watched_folder = getenv("POWERLOSS_DIR"), *fail = getenv("POWERLOSS_FAIL");
    if (!watched_folder) return;
    random_state = number_of("POWERLOSS_SEED");
    lose_after = number_of("POWERLOSS_AFTER");
    ignore_sync = getenv("POWERLOSS_IGNORE_SYNC") != NULL;
    if (fail && sscanf(fail, "%15[^:]:%63[^:]:%d:%ld", fail_call, fail_suffix, &fail_errno, &fail_after) != 4) {
        errno = EINVAL;
        give_up("POWERLOSS_FAIL");
    }
    snprintf(folder, sizeof folder, "%s", watched_folder);
    folder_length = strlen(folder);
}
