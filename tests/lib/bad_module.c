/* Modules that a worker must refuse, one for each value of BAD. For tests. */
#include <dtq/handler.h>

#include <signal.h>
#include <stdlib.h>

static int run(dtq_context *ctx, const void *payload, size_t bytes)
{
    (void)ctx;
    (void)payload;
    (void)bytes;
    return 0;
}

#if BAD == 1 /* another ABI */
static const dtq_handler handlers[] = {{"a", run}};
__attribute__((visibility("default"))) extern const dtq_module_info dtq_module;
const dtq_module_info dtq_module = {
    DTQ_HANDLER_ABI + 1, sizeof dtq_module, "bad", handlers, 1, NULL};
#elif BAD == 2  /* no symbol */
int (*bad_run)(dtq_context *, const void *, size_t) = run;
#elif BAD == 3  /* one name twice */
static const dtq_handler handlers[] = {{"a", run}, {"b", run}, {"a", run}};
DTQ_MODULE("bad", handlers);
#elif BAD == 4  /* not a name */
static const dtq_handler handlers[] = {{"a b", run}};
DTQ_MODULE("bad", handlers);
#elif BAD == 5  /* dies while it is loaded */
static const dtq_handler handlers[] = {{"a", run}};
DTQ_MODULE("bad", handlers);
__attribute__((constructor)) static void die(void)
{
    abort();
}
#elif BAD == 6  /* refuses to start */
static const dtq_handler handlers[] = {{"a", run}};
static const char *start(void)
{
    return "the model file is missing";
}
DTQ_MODULE_STARTED("bad", handlers, start);
#elif BAD == 7  /* needs what nobody has */
extern int nobody_has_this(void);
static int call(dtq_context *ctx, const void *payload, size_t bytes)
{
    return run(ctx, payload, bytes) + nobody_has_this();
}
static const dtq_handler handlers[] = {{"a", call}};
DTQ_MODULE("bad", handlers);
#elif BAD == 8  /* a handler without a function */
static const dtq_handler handlers[] = {{"a", run}, {"b", NULL}};
DTQ_MODULE("bad", handlers);
#elif BAD == 9  /* none at all */
extern const dtq_module_info dtq_module __attribute__((visibility("default")));
const dtq_module_info dtq_module = {DTQ_HANDLER_ABI, sizeof dtq_module, "bad", NULL, 0, NULL};
int (*bad_run)(dtq_context *, const void *, size_t) = run;
#elif BAD == 10 /* is killed while it is loaded, as for want of memory */
static const dtq_handler handlers[] = {{"a", run}};
DTQ_MODULE("bad", handlers);
__attribute__((constructor)) static void be_killed(void)
{
    raise(SIGKILL);
}
#endif
