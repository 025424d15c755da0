/* dtq: the command line. Finds the command and hands over. */
#include "cli.h"

#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct cli_command cli_commands[] = {
    {"up", "run a ventilator, a sink and a worker on this machine, until ^C", cmd_up},
    {"submit", "submit one task, or one for each line of a file", cmd_submit},
    {"wait", "wait until tasks are finished", cmd_wait},
    {"result", "print the results of tasks", cmd_result},
    {"results", "list the outcomes that the sinks hold, or follow them", cmd_results},
    {"show", "print everything that is known about tasks", cmd_show},
    {"explain", "say why tasks do not run", cmd_explain},
    {"list", "list open tasks", cmd_list},
    {"queue", "list, pause and resume queues; bound what of them runs", cmd_queue},
    {"cron", "submit tasks again and again, by the clock", cmd_cron},
    {"dead", "list, show, requeue and purge tasks that failed for good", cmd_dead},
    {"sink", "list sinks; go on with one that was restored from an old copy", cmd_sink},
    {"status", "show queues, workers, sinks and counters", cmd_status},
    {"cancel", "cancel tasks", cmd_cancel},
    {"store", "check, compact or measure a data directory", cmd_store},
    {"bench", "measure throughput, round trips and fairness of a cluster", cmd_bench},
    {NULL, NULL, NULL},
};

#define COMMANDS_N (sizeof cli_commands / sizeof *cli_commands - 1)

static const struct cli_command *find_command(const char *name)
{
    for (const struct cli_command *c = cli_commands; c->name != NULL; c++)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

static void print_help(FILE *out)
{
    fputs("Usage: dtq COMMAND [OPTION...] [ARGUMENT...]\n\ndtq " DTQ_VERSION
          ", a distributed task queue.\n\nCommands:\n",
          out);
    for (const struct cli_command *c = cli_commands; c->name != NULL; c++)
        fprintf(out, "  %-9s  %s\n", c->name, c->summary);
    fputs("\nOptions of every command:\n"
          "  -V, --ventilator=ENDPOINT  where the ventilator is (default tcp://127.0.0.1:5570)\n"
          "      --json                 print JSON\n"
          "      --help, --version      `dtq COMMAND --help` tells about one command\n"
          "\nExit status: 0 done, 1 the task or operation failed, 2 usage, 69 unreachable, 75 busy "
          "or not finished,\n"
          "124 timed out, 130 cancelled.\n",
          out);
}

static int flush(void)
{
    return opt_flush("dtq") ? CLI_DONE : CLI_FAILED;
}

static int unknown_command(const char *word)
{
    const char *names[COMMANDS_N];
    const char *near;

    for (size_t i = 0; i < COMMANDS_N; i++)
        names[i] = cli_commands[i].name;
    near = text_nearest(word, names, COMMANDS_N);
    if (near != NULL)
        fprintf(stderr, "dtq: there is no command '%s'; did you mean '%s'?\n", word, near);
    else
        fprintf(stderr, "dtq: there is no command '%s'; `dtq --help` lists them\n", word);
    return CLI_USAGE;
}

/* Options before the command (`dtq -V tcp://head:5570 list`) are the command's too: they move
 * behind its name. */
static int run_command(const struct cli_command *command, int at, int argc, char **argv)
{
    char **moved = malloc(((size_t)argc + 1) * sizeof *moved);
    int status;

    if (moved == NULL)
        cli_out_of_memory();
    moved[0] = argv[at];
    memcpy(moved + 1, argv + 1, (size_t)(at - 1) * sizeof *moved);
    memcpy(moved + at, argv + at + 1, (size_t)(argc - at) * sizeof *moved);
    status = command->run(argc - 1, moved);
    free(moved);
    return status;
}

static bool is_any_of(const char *word, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strcmp(word, *words) == 0)
            return true;
    return false;
}

/* The first word that is no option, nor the value of one. */
static int command_at(int argc, char **argv)
{
    static const char *const with_value[] = {"-V", "--ventilator", "--config", NULL};
    int i = 1;

    while (i < argc && argv[i][0] == '-')
        i += is_any_of(argv[i], with_value) ? 2 : 1;
    return i;
}

/* `dtq help COMMAND` is `dtq COMMAND --help`. */
static int help(int argc, char **argv)
{
    static char option[] = "--help";
    const struct cli_command *command;

    if (argc < 3) {
        print_help(stdout);
        return flush();
    }
    command = find_command(argv[2]);
    if (command == NULL)
        return unknown_command(argv[2]);
    return command->run(2, (char *[]){argv[2], option, NULL});
}

int main(int argc, char **argv)
{
    static const char *const asking[] = {"--help", "-h", "help", NULL};
    const struct cli_command *command;
    int at = command_at(argc, argv);

    if (argc > 1 && is_any_of(argv[1], asking))
        return help(argc, argv);
    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        puts("dtq " DTQ_VERSION);
        return flush();
    }
    if (at > argc) {
        fprintf(stderr, "dtq: %s needs a value\n", argv[argc - 1]);
        return CLI_USAGE;
    }
    if (at == argc) {
        print_help(stderr);
        return CLI_USAGE;
    }
    command = find_command(argv[at]);
    if (command == NULL && at > 1)
        fprintf(stderr, "dtq: options go behind the command's name, all but -V, --config and "
                        "--json\n");
    if (command == NULL)
        return unknown_command(argv[at]);
    return run_command(command, at, argc, argv);
}
