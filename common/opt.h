/*
 * Options of all programs. One table per group of options drives parsing, --help, --version,
 * --show-config and `dtq config`. A value comes from, in this order: the command line, the
 * environment (DTQ_ and the long name in capitals, "-" as "_"), the configuration file (--config
 * or DTQ_CONFIG, else $XDG_CONFIG_HOME/dtq/dtq.conf, else /etc/dtq/dtq.conf; czmq zconfig format;
 * keys are long names, at the top for every program or in a section named after one program),
 * the default.
 *
 * Values are written into a plain struct of the program's, at the offsets of the table. Strings and
 * lists in it belong to the struct opt_result and are gone after opt_done().
 *
 *     struct values { const char *bind; uint64_t heartbeat_ms; bool insecure; };
 *     static const struct opt table[] = {
 *         {.name = "bind", .type = OPT_ENDPOINT, OPT_AT(struct values, bind), .meta = "ENDPOINT",
 *          .initial = "tcp://127.0.0.1:5570", .help = "where producers and workers connect"},
 *         ...
 *     };
 */
#ifndef DTQ_OPT_H
#define DTQ_OPT_H

#include "dtq/base.h"

#include <stdbool.h>
#include <stdio.h>

enum opt_type {
    OPT_FLAG,      /* bool: --name, or --name=yes|no; elsewhere yes|no, true|false, on|off, 1|0 */
    OPT_STRING,    /* const char *; NULL when not given and without default */
    OPT_STRINGS,   /* struct opt_strings; may be repeated; in the environment one value a line */
    OPT_NAMES,     /* struct opt_strings; "a,b" and repetition; each a valid name (dtqi_is_name) */
    OPT_WEIGHTS,   /* struct opt_strings: as NAMES, each "name" or "name=N", N within min..max */
    OPT_INTEGER,   /* uint64_t within min..max */
    OPT_NUMBER,    /* double within min..max, at least 0: "2.5" */
    OPT_DURATION,  /* uint64_t, milliseconds within min..max */
    OPT_SIZE,      /* uint64_t, bytes within min..max */
    OPT_TIME,      /* uint64_t, wall milliseconds (RFC 3339); 0: not given */
    OPT_ENDPOINT,  /* const char *: tcp://HOST:PORT or ipc://PATH */
    OPT_ENDPOINTS, /* struct opt_strings: endpoints with commas between, or repeated */
    OPT_RANGE,     /* struct opt_range: "LO-HI", or one number, both within min..max */
    OPT_PATH,      /* const char *: as STRING, and a leading "~/" is the home directory */
    OPT_ENUM,      /* int: index into `words` */
};

struct opt_strings {
    const char *const *at;
    size_t n;
};

struct opt_range {
    uint32_t lo;
    uint32_t hi;
};

struct opt {
    const char *name; /* long name, without dashes */
    char letter;      /* 0: none */
    enum opt_type type;
    size_t offset;            /* OPT_AT() */
    size_t given;             /* offset of a bool that says whether anybody gave it; OPT_GIVEN() */
    const char *meta;         /* what stands for the value in --help: "SIZE"; flags: NULL */
    const char *help;         /* one sentence, without a full stop */
    const char *initial;      /* default as text, parsed as any other; NULL: none */
    uint64_t min;             /* INTEGER, NUMBER, DURATION, SIZE, RANGE */
    uint64_t max;             /* 0: no bound */
    const char *const *words; /* ENUM: NULL-ended */
    bool command_line_only;   /* neither environment nor configuration file */
    bool hidden;              /* not in --help */
};

#define OPT_AT(type, field) .offset = offsetof(type, field)
#define OPT_GIVEN(type, field) .given = offsetof(type, field) + 1 /* 0: nobody asks */

struct opt_group {
    const char *title; /* of its part of --help: "Options"; NULL: it goes on with the one before */
    const struct opt *opts;
    size_t opts_n;
    void *values; /* the struct that the offsets point into; written by opt_parse() */
};

#define OPT_TABLE(array) .opts = (array), .opts_n = sizeof(array) / sizeof *(array)

struct opt_spec {
    const char *program; /* "dtq-ventilator": section of the configuration file, in messages */
    const char *command; /* "submit": a command of the program; NULL: none. Its section is
                            "program" too */
    const char *usage;   /* what follows the name: "[OPTION...]"; more lines are more usages */
    const char *summary; /* one sentence for --help */
    const char *epilog;  /* after the options; NULL: nothing */
    const struct opt_group *groups;
    size_t groups_n;
    bool stop_at_operand; /* stop before the first operand: `dtq -V x COMMAND ...` */
    size_t operands_min;  /* without stop_at_operand: so many operands at least .. */
    size_t operands_max;  /* .. and at most; SIZE_MAX: any number */
};

enum opt_source { OPT_FROM_DEFAULT, OPT_FROM_FILE, OPT_FROM_ENVIRONMENT, OPT_FROM_COMMAND_LINE };

struct opt_result {
    char **operands; /* borrowed from argv; all that are not options; those behind "--" last */
    size_t operands_n;
    size_t dashes_at;        /* number of operands before a "--"; SIZE_MAX: there was no "--" */
    const char *config_path; /* the file that was read; NULL: none */
    struct opt_state *state;
};

#define OPT_GO (-1)

/*
 * Parse everything and fill in the values of all groups. --help, --version and --show-config print
 * to stdout.
 * @return OPT_GO: go on; else the status to exit with: 0 after one of these three, 2 after an error
 * (one sentence on stderr names option, cause and what is allowed), 1 out of memory or out of room
 * on stdout. opt_done() is to be called in any case.
 */
int opt_parse(const struct opt_spec *spec, int argc, char **argv, struct opt_result *ret);
void opt_done(struct opt_result *result); /* takes one that was zeroed, or done already */

/* A value in words, as given (NULL: it has none), and where it came from ("--bind", "DTQ_BIND",
 * "/etc/dtq/dtq.conf", "default"), for every option of the groups; once for each value of a list
 * that was given in pieces. Texts are borrowed until opt_done(). */
typedef void opt_visit(void *arg, const struct opt *opt, const char *value, enum opt_source source,
                       const char *where);
void opt_each(const struct opt_result *result, opt_visit *visit, void *arg);

/* For errors that only the program can see: "dtq-worker: --module: cannot open x.so" and a hint at
 * --help on stderr. @return 2. */
int opt_error(const struct opt_spec *spec, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * Options that every daemon has (--log-level, --log-format). opt_log_apply() hands them to log.h.
 */
struct opt_log {
    int level;
    int format;
};
extern const struct opt opt_log_table[];
extern const size_t opt_log_table_n;
void opt_log_apply(const struct opt_log *values);

/* -V/--ventilator, as all peers of a ventilator have it. */
struct opt_ventilator {
    struct opt_strings endpoints; /* never empty */
};
extern const struct opt opt_ventilator_table[];
extern const size_t opt_ventilator_table_n;
/* What was printed is flushed. Whoever reads it and has seen enough (`| head`) is no failure.
 * @return false: it could not be written, after a message that begins with `who`. */
bool opt_flush(const char *who);

/* One ventilator is what this version can use. @return OPT_GO, or 2 after opt_error(). */
int opt_ventilator_check(const struct opt_spec *spec, const struct opt_ventilator *values);

/*
 * Where `program` keeps its data unless --data says otherwise: $XDG_STATE_HOME/dtq/`leaf`
 * (~/.local/state/dtq/`leaf`); for root /var/lib/dtq/`leaf`, unless XDG_STATE_HOME is set.
 * @return `ret_path`, or NULL when it does not fit or there is no home directory.
 */
const char *opt_data_dir(const char *leaf, char *ret_path, size_t bytes);

#endif
