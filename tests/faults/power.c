/* What a power failure would leave: loaded before the C library (LD_PRELOAD), this notes what each
   fsync and fdatasync puts through to the disk, below the folder MMRAG_POWER_ROOT:

   - of a file its content, as MMRAG_POWER_KEPT/f-INODE (and a hard link, so that the inode's
     number does not come again);
   - of a folder its names, as MMRAG_POWER_KEPT/d-INODE with lines "KIND INODE NAME";
   - that the folders above either are there, as journalling file systems keep it.

   After MMRAG_POWER_SYNCS such calls nothing is noted any more, and the process is killed: the
   power failed then. `power.py` makes of the notes what is found when the power is back. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *root, *kept;
static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
    root = getenv("MMRAG_POWER_ROOT");
    kept = getenv("MMRAG_POWER_KEPT");
}

static void note_name(const char *folder) {
    /* The folder is there, and so are those above it. */
    char path[PATH_MAX], list[PATH_MAX];
    struct stat me, over;
    snprintf(path, sizeof path, "%s", folder);
    while (strlen(path) > strlen(root)) {
        char *slash = strrchr(path, '/');
        if (stat(path, &me)) return;
        *slash = 0;
        if (stat(path, &over)) return;
        snprintf(list, sizeof list, "%s/d-%lu", kept, (unsigned long)over.st_ino);
        FILE *out = fopen(list, "a");
        if (!out) return;
        fprintf(out, "d %lu %s\n", (unsigned long)me.st_ino, slash + 1);
        fclose(out);
    }
}

static void note_folder(const char *path, unsigned long inode) {
    char list[PATH_MAX], part[PATH_MAX + 16];
    snprintf(list, sizeof list, "%s/d-%lu", kept, inode);
    snprintf(part, sizeof part, "%s.%d", list, getpid());
    FILE *out = fopen(part, "w");
    DIR *folder = opendir(path);
    struct dirent *entry;
    while (out && folder && (entry = readdir(folder)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            fprintf(out, "%c %lu %s\n", entry->d_type == DT_DIR ? 'd' : 'f',
                    (unsigned long)entry->d_ino, entry->d_name);
    if (folder) closedir(folder);
    if (out) { fclose(out); rename(part, list); }
}

static void note_file(const char *handle, unsigned long inode) {
    char to[PATH_MAX], part[PATH_MAX + 16], pin[PATH_MAX], block[1 << 16];
    snprintf(to, sizeof to, "%s/f-%lu", kept, inode);
    snprintf(part, sizeof part, "%s.%d", to, getpid());
    snprintf(pin, sizeof pin, "%s/pin-%lu", kept, inode);
    linkat(AT_FDCWD, handle, AT_FDCWD, pin, AT_SYMLINK_FOLLOW);
    int from = open(handle, O_RDONLY | O_CLOEXEC), out = creat(part, 0600);
    ssize_t n;
    while (from >= 0 && out >= 0 && (n = read(from, block, sizeof block)) > 0)
        if (write(out, block, n) != n) break;
    if (from >= 0) close(from);
    if (out >= 0) { close(out); rename(part, to); }
}

static int power_is_on(void) {
    /* All processes count together; the last call finds the power gone. */
    const char *most = getenv("MMRAG_POWER_SYNCS");
    if (!most) return 1;
    char path[PATH_MAX], text[32] = "";
    snprintf(path, sizeof path, "%s/count", kept);
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) return 1;
    flock(file, LOCK_EX);
    if (pread(file, text, sizeof text - 1, 0) < 0) text[0] = 0;
    long count = atol(text) + 1;
    int length = snprintf(text, sizeof text, "%ld\n", count);
    if (pwrite(file, text, length, 0) < 0) count = 0;
    close(file);
    return count <= atol(most);
}

static void note(int fd) {
    struct stat seen;
    char handle[64], path[PATH_MAX] = "", above[PATH_MAX];
    snprintf(handle, sizeof handle, "/proc/self/fd/%d", fd);
    if (!root || !kept || fstat(fd, &seen)) return;
    ssize_t length = readlink(handle, path, sizeof path - 1);
    if (length <= 0 || strncmp(path, root, strlen(root))) return;
    if (path[strlen(root)] && path[strlen(root)] != '/') return;
    pthread_mutex_lock(&one);
    if (!power_is_on()) kill(getpid(), SIGKILL);
    if (S_ISDIR(seen.st_mode)) {
        note_folder(path, seen.st_ino);
        note_name(path);
    } else if (S_ISREG(seen.st_mode)) {
        note_file(handle, seen.st_ino);
        snprintf(above, sizeof above, "%s", path);
        char *slash = strrchr(above, '/');
        if (slash && slash > above) { *slash = 0; note_name(above); }
    }
    pthread_mutex_unlock(&one);
}

#define SYNC(name)                                              \
    int name(int fd) {                                          \
        static int (*real)(int);                                \
        if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, #name); \
        int done = real(fd);                                    \
        if (!done) note(fd);                                    \
        return done;                                            \
    }
SYNC(fsync)
SYNC(fdatasync)
