// Submit one task, wait for it, print its result. C++11, the oldest that people still use.
#include <dtq/dtq.h>

#include <iostream>
#include <string>

int main(int argc, char **argv)
{
    const std::string payload = "from C++";
    dtq_client *client = nullptr;
    dtq_options options;
    dtq_result result;
    dtq_task task;
    dtq_id id;

    dtq_options_init(&options);
    options.ventilator = argc > 1 ? argv[1] : nullptr;
    if (dtq_client_open(&options, &client) != DTQ_OK)
        return 1;
    dtq_task_init(&task, "echo", payload.data(), payload.size());
    dtq_err err = dtq_submit(client, &task, 10000, &id);
    if (err == DTQ_OK)
        err = dtq_wait_one(client, &id, 10000, &result);
    if (err == DTQ_OK)
        std::cout << std::string(static_cast<const char *>(result.body), result.body_bytes) << '\n';
    else
        std::cerr << dtq_client_errmsg(client) << '\n';
    dtq_client_close(client);
    return err == DTQ_OK ? 0 : 1;
}
