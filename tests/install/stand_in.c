/* stand_in PROGRAM [ARG..]: run a program with the endpoint of a cluster of one thread as its last
 * argument, and end as it ends. */
#include "fake_cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct fake_cluster *cluster = fake_cluster_open();
    char **args = calloc((size_t)argc + 1, sizeof *args);
    int status = 1;
    pid_t pid;

    if (argc < 2 || args == NULL)
        return 2;
    for (int i = 1; i < argc; i++)
        args[i - 1] = argv[i];
    args[argc - 1] = strdup(fake_cluster_endpoint(cluster));
    pid = fork();
    if (pid == 0) {
        execvp(args[0], args);
        perror(args[0]);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        perror("stand_in");
    fake_cluster_close(cluster);
    free(args[argc - 1]);
    free(args);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
