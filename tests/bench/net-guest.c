/*
 * net-guest.c - the guest's end of the measure `net`: obeys the host over one TCP connection.
 *
 * A command is a letter and the number of bytes in 16 hexadecimal digits:
 *   S  send so many        R  take so many, then answer with one byte
 *   E  send each byte back as it comes, so many        Q  end
 * Usage: net-guest ADDRESS PORT
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static char buffer[1 << 16];

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void put(int fd, size_t length)
{
    ssize_t n = write(fd, buffer, length);
    if (n != (ssize_t)length)
        fail("net-guest: write");
}

static size_t get(int fd, size_t most)
{
    ssize_t n = read(fd, buffer, most);
    if (n <= 0)
        fail("net-guest: read");
    return (size_t)n;
}

static size_t least(unsigned long long a, size_t b)
{
    return a < b ? (size_t)a : b;
}

static void obey(int fd, char command, unsigned long long left)
{
    size_t n;
    for (; left; left -= n) {
        n = least(left, sizeof(buffer));
        if (command == 'S')
            put(fd, n);
        else
            n = get(fd, n);
        if (command == 'E')
            put(fd, n);
    }
    if (command == 'R')
        put(fd, 1);
}

int main(int count, char **words)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in to = {.sin_family = AF_INET};
    if (count != 3 || inet_pton(AF_INET, words[1], &to.sin_addr) != 1)
        return 2;
    to.sin_port = htons((unsigned short)atoi(words[2]));
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
        fail("net-guest: connect");
    for (;;) {
        char command[18] = {0};
        for (size_t have = 0; have < 17;) {
            ssize_t n = read(fd, command + have, 17 - have);
            if (n <= 0)
                fail("net-guest: read");
            have += (size_t)n;
        }
        if (command[0] == 'Q')
            return 0;
        obey(fd, command[0], strtoull(command + 1, NULL, 16));
    }
}
