#include "alloc_fail.h"

static _Thread_local unsigned long countdown;
static _Thread_local bool is_armed;
static _Thread_local bool has_failed;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *at, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *at, size_t size);

void alloc_fail_at(unsigned long n)
{
    countdown = n;
    has_failed = false;
}

void alloc_fail_arm(bool armed)
{
    is_armed = armed;
}

bool alloc_failed(void)
{
    return has_failed;
}

static bool fails(void)
{
    if (!is_armed || countdown == 0 || --countdown != 0)
        return false;
    has_failed = true;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *at, size_t size)
{
    return fails() ? NULL : __real_realloc(at, size);
}
