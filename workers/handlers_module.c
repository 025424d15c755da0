#include "handlers.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>

#define MODULE_HANDLERS_MAX 4096u

static dtq_err no_good(const char *path, const char *cause, char *why, size_t why_bytes)
{
    snprintf(why, why_bytes, "module %s: %s", path, cause);
    return DTQ_EINVAL;
}

/* A symbol `dtq_module` may be anything: the version is looked at before anything else is. */
static dtq_err check_info(const char *path, const dtq_module_info *info, char *why,
                          size_t why_bytes)
{
    if (info->abi != DTQ_HANDLER_ABI) {
        snprintf(why, why_bytes,
                 "module %s: it was built for handler ABI %u, this worker speaks %u: build it anew "
                 "with the <dtq/handler.h> of this version",
                 path, info->abi, DTQ_HANDLER_ABI);
        return DTQ_EVERSION;
    }
    if (info->bytes < sizeof *info)
        return no_good(path, "its dtq_module is damaged", why, why_bytes);
    if (info->handlers_n == 0 || info->handlers == NULL)
        return no_good(path, "it has no handlers", why, why_bytes);
    if (info->handlers_n > MODULE_HANDLERS_MAX)
        return no_good(path, "it has more than 4096 handlers", why, why_bytes);
    return DTQ_OK;
}

static dtq_err add_function(struct handlers *h, const char *path, const dtq_handler *from,
                            char *why, size_t why_bytes)
{
    char origin[PATH_MAX + 16];
    struct handler *new;
    dtq_err err;

    snprintf(origin, sizeof origin, "module %s", path);
    if (from->name == NULL || from->run == NULL)
        return no_good(path, "a handler has no name or no function", why, why_bytes);
    err = handlers_add(h, (struct dtqi_str){from->name, (uint32_t)strnlen(from->name, 4096)},
                       origin, why, why_bytes, &new);
    if (err != DTQ_OK)
        return err;
    new->function = from->run;
    new->run = handler_module_run;
    return DTQ_OK;
}

static dtq_err start(const char *path, const dtq_module_info *info, char *why, size_t why_bytes)
{
    const char *wrong = info->start != NULL ? info->start() : NULL;

    if (wrong == NULL)
        return DTQ_OK;
    snprintf(why, why_bytes, "module %s: it cannot start: %s", path, wrong);
    return DTQ_EINVAL;
}

dtq_err handlers_add_module(struct handlers *h, const char *path, char *why, size_t why_bytes)
{
    char file[PATH_MAX];
    const dtq_module_info *info;
    void *module;
    dtq_err err;

    /* Always a file, never a name that dlopen() looks for in the library path. */
    if (realpath(path, file) == NULL) {
        snprintf(why, why_bytes, "module %s: %s", path, strerror(errno));
        return DTQ_ENOTFOUND;
    }
    module = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (module == NULL) {
        snprintf(why, why_bytes, "module %s: it cannot be loaded: %s", path, dlerror());
        return DTQ_EINVAL;
    }
    info = dlsym(module, "dtq_module");
    if (info == NULL)
        return no_good(path,
                       "it has no symbol dtq_module: is DTQ_MODULE() of <dtq/handler.h> in it?",
                       why, why_bytes);
    err = check_info(path, info, why, why_bytes);
    for (size_t i = 0; err == DTQ_OK && i < info->handlers_n; i++)
        err = add_function(h, path, &info->handlers[i], why, why_bytes);
    return err == DTQ_OK ? start(path, info, why, why_bytes) : err;
}
